"""Tables of abbreviations, names and words. To teach the normalizer a word, add an entry here."""


def entries(text: str) -> dict[str, str]:
    """ "kn:knot ly:light_year" as a table; "_" stands for a space."""
    pairs = (entry.split(":", 1) for entry in text.split())
    return {key.replace("_", " "): value.replace("_", " ") for key, value in pairs}


# Abbreviations, without their full stop

BOOKS = entries(  # of the Bible, before a verse
    "Gen:genesis Ex:exodus Exod:exodus Lev:leviticus Num:numbers Deut:deuteronomy Josh:joshua "
    "Judg:judges Sam:samuel Kgs:kings Chr:chronicles Neh:nehemiah Ps:psalm Pss:psalms Prov:proverbs "
    "Eccl:ecclesiastes Isa:isaiah Jer:jeremiah Lam:lamentations Ezek:ezekiel Dan:daniel Hos:hosea "
    "Mic:micah Hab:habakkuk Zech:zechariah Mal:malachi Matt:matthew Mt:matthew Mk:mark Lk:luke "
    "Jn:john Rom:romans Cor:corinthians Gal:galatians Eph:ephesians Phil:philippians Col:colossians "
    "Thess:thessalonians Tim:timothy Heb:hebrews Jas:james Pet:peter Rev:revelation"
)
TITLES = entries(  # before a name: their full stop never ends a sentence, and may be left out
    "Mr:mister Mrs:missus Dr:doctor Prof:professor Capt:captain Lt:lieutenant Sgt:sergeant "
    "Gov:governor Cpl:corporal Pvt:private Cmdr:commander Messrs:messieurs Msgr:monsignor "
    "Supt:superintendent Atty:attorney Insp:inspector Asst:assistant"
)
NAMED = entries(  # only with these capitals, a full stop, and before another capital
    "Gen:general Col:colonel Maj:major Rev:reverend Sen:senator Rep:representative Hon:honorable "
    "Pres:president Adm:admiral Fr:father Br:brother Det:detective Amb:ambassador Sec:secretary "
    "Rt:right"
)
PLACES = {"Ft": "fort", "Mt": "mount", "Pt": "point"}  # before a name, with a full stop or not
COUNTED = entries(  # with a full stop and before a number
    "no:number nos:numbers p:page pp:pages ch:chapter chs:chapters chap:chapter vol:volume "
    "vols:volumes fig:figure figs:figures eq:equation eqs:equations eqn:equation ext:extension "
    "tel:telephone apt:apartment est:established c:circa ca:circa rm:room bldg:building "
    "ste:suite hwy:highway rte:route rt:route art:article arts:articles para:paragraph "
    "paras:paragraphs par:paragraph cl:clause sec:section secs:sections sect:section op:opus "
    "bk:book pt:part ex:example app:appendix tab:table q:question qs:questions ver:version "
    "rev:revision inv:invoice sched:schedule dist:district gr:grade s:section ss:sections v:verse vv:verses "
    "n:note l:line ll:lines ref:reference ep:episode sc:scene dept:department mod:model "
    "pl:plate col:column div:division reg:regulation max:maximum min:minimum temp:temperature "
    "dep:departs arr:arrives flt:flight pop:population ed:edition iss:issue std:standard"
)
COUNTED_SHORT = set("no nos p pp c ca s ss v vv n l ll q ex".split())  # never before a comma
ROOMS = entries(  # before a number, with a capital and without a full stop
    "Rm:room Bldg:building Ste:suite Hwy:highway Rte:route Apt:apartment Fig:figure Vol:volume "
    "Ext:extension Tel:telephone Flt:flight Ch:chapter"
)
ABBREVIATIONS = entries(  # only with their full stop
    "Ms:miss Jr:junior Sr:senior Co:company Corp:corporation Inc:incorporated Ltd:limited "
    "Dept:department Bros:brothers Esq:esquire Govt:government Gov't:government Assn:association "
    "Assoc:associates Univ:university Intl:international Int'l:international Natl:national "
    "Nat'l:national Mfg:manufacturing Mgmt:management Mgr:manager approx:approximately "
    "etc:et_cetera vs:versus "
    "avg:average excl:excluding exc:excluding incl:including esp:especially "
    "misc:miscellaneous orig:originally prev:previously qty:quantity viz:namely cf:compare "
    "ibid:ibid hrs:hours mins:minutes secs:seconds yrs:years wks:weeks lbs:pounds "
    "tbsp:tablespoon tbsps:tablespoons tbs:tablespoon tsp:teaspoon tsps:teaspoons pkg:package "
    "dept:department hwy:highway attn:attention cont:continued cont'd:continued encl:enclosed "
    "fwd:forward "
    "resp:respectively "
    "abbr:abbreviated lang:language dob:date_of_birth assn:association"
)
IN_SENTENCE = entries(  # only before a comma, a small letter or a number: they also end sentences
    "max:maximum min:minimum temp:temperature dep:departs arr:arrives art:article op:opus "
    "ed:edited eds:editors trans:translated pop:population ref:reference reg:registered "
    "vol:volume diam:diameter wt:weight ht:height std:standard req:required cl:clause "
    "para:paragraph eq:equation ext:extension"
)
MEASURES = entries(  # only before a comma; after a number the rules for units read them
    "gal:gallons qt:quarts pt:pints oz:ounces lb:pounds ft:feet yd:yards mi:miles mo:months "
    "yr:year wk:week hr:hour sq:square cu:cubic fl:fluid tbsp:tablespoons"
)
LABELS = entries(  # before a colon
    "Tel:telephone tel:telephone Attn:attention Qty:quantity Ext:extension Ref:reference Temp:temperature "
    "Min:minimum Max:maximum Avg:average Dept:department Approx:approximately Vol:volume"
)
NEVER_LAST = set(
    "Ms e.g i.e vs approx a.k.a cf viz esp incl excl exc avg qty attn Attn tel".split()
)
SHORT_WORDS = entries(
    "hwy:highway w/o:without w/:with w/in:within w/e:whatever b/c:because b/w:between 'n':and y/y:year_on_year "
    "y-o-y:year_on_year m/m:month_on_month q/q:quarter_on_quarter d/d:day_on_day YoY:year_on_year yoy:year_on_year qoq:quarter_on_quarter "
    "QoQ:quarter_on_quarter n/a:not_applicable N/A:not_applicable c/o:care_of y/n:yes_or_no "
    "Y/N:yes_or_no s/he:she_or_he he/she:he_or_she and/or:and_or p.a.:per_year "
    "w.r.t.:with_respect_to aka:also_known_as A/C:ay_see a/c:ay_see"
)
STREETS = entries(  # after a name, with a full stop or not
    "Ave:avenue Av:avenue Blvd:boulevard Rd:road Ln:lane Pkwy:parkway Fwy:freeway Expy:expressway "
    "Hwy:highway Trl:trail Cres:crescent Ct:court Pl:place Sq:square Cir:circle Ter:terrace "
    "Terr:terrace Aly:alley Plz:plaza"
)
STREET_OR_NAME = {"St": ("saint", "street"), "Dr": ("doctor", "drive")}  # before, after a name
STREET_OWNERS = set(  # "High St Kensington" has no saint
    "Main High Baker Oak Elm Park Wall Church Broad Market Bond Oxford Regent Fleet State Water "
    "Maple Pine Cedar Bridge Mill Station Queen King Front School Washington Spring Center North "
    "South East West First Second Third Fourth Fifth Sixth Seventh Eighth Ninth Tenth".split()
)
STREET_WORDS = "Street Avenue Road Boulevard Drive Lane Court Place Square Way Highway".split()
COMPASS = entries(
    "N:north S:south E:east W:west NE:northeast NW:northwest SE:southeast SW:southwest"
)
FLOORS = entries("Fl:floor fl:floor Flr:floor cent:century c:century ed:edition")
STARTERS = set(  # after a full stop these begin a sentence: a name would look otherwise
    "He She It They We You The This That These Those There But And Then When While If So In On At "
    "His Her Its Our My Their Your What Who How Why Where After Before Now Not No Yes".split()
)
NOT_TOWNS = STARTERS | set(
    "Oh Well Hey Hi Hello Ok Okay Please Sorry Thanks Sure Maybe Look Listen Come Either Ask Tell "
    "Trust Believe Help Sir Madam Dear Today Tomorrow Yesterday Monday Friday Sunday".split()
)
STATES = entries(
    "AL:alabama AK:alaska AZ:arizona AR:arkansas CA:california CO:colorado CT:connecticut "
    "DE:delaware FL:florida GA:georgia HI:hawaii ID:idaho IL:illinois IN:indiana IA:iowa "
    "KS:kansas KY:kentucky LA:louisiana ME:maine MD:maryland MA:massachusetts MI:michigan "
    "MN:minnesota MS:mississippi MO:missouri MT:montana NE:nebraska NV:nevada "
    "NH:new_hampshire NJ:new_jersey NM:new_mexico NY:new_york NC:north_carolina "
    "ND:north_dakota OH:ohio OK:oklahoma OR:oregon PA:pennsylvania RI:rhode_island "
    "SC:south_carolina SD:south_dakota TN:tennessee TX:texas UT:utah VT:vermont VA:virginia "
    "WA:washington WV:west_virginia WI:wisconsin WY:wyoming DC:dee_see ON:ontario "
    "BC:british_columbia QC:quebec AB:alberta MB:manitoba SK:saskatchewan NS:nova_scotia "
    "NB:new_brunswick NSW:new_south_wales"
)
STATE_WORDS = set(
    "IN OR ME OK HI OH LA PA MA AL DE MD CO ID ON".split()
)  # words or abbreviations too
LONG_STATES = entries(
    "Mass:massachusetts Calif:california Conn:connecticut Ill:illinois Fla:florida Wash:washington "
    "Tenn:tennessee Mich:michigan Minn:minnesota Colo:colorado Ariz:arizona Tex:texas Okla:oklahoma "
    "Ore:oregon Penn:pennsylvania Pa:pennsylvania Va:virginia Ga:georgia La:louisiana "
    "Ala:alabama Ind:indiana Wis:wisconsin Nev:nevada Md:maryland Del:delaware Ky:kentucky "
    "Mo:missouri Neb:nebraska Kan:kansas Miss:mississippi Ark:arkansas Vt:vermont "
    "Wyo:wyoming Mont:montana Ont:ontario"
)

# Dates

MONTH_NAMES = (
    "january february march april may june july august september october november december"
).split()
MONTHS = {name.capitalize(): name for name in MONTH_NAMES}
MONTHS |= {name[:3].capitalize(): name for name in MONTH_NAMES if name != "may"}
MONTHS["Sept"] = "september"
MONTHS |= {
    key.lower(): name for key, name in MONTHS.items() if key.lower() not in ("may", "march", "mar")
}
MONTHS |= {name.upper(): month for name, month in MONTHS.items()}
WEEKDAYS = entries(
    "Mon:monday Tue:tuesday Tues:tuesday Wed:wednesday Weds:wednesday Thu:thursday Thur:thursday "
    "Thurs:thursday Fri:friday Sat:saturday Sun:sunday"
)

# Roman numerals

REGNAL = set(  # single letters after these names are numbers, as in "Charles V"
    "Henry Charles Louis Elizabeth George Edward James William Mary Richard Paul Pius Francis "
    "Philip Napoleon Nicholas Peter Catherine Alexander Frederick Ferdinand Leopold Otto Wilhelm "
    "Gregory Benedict Leo Clement Innocent Christian Gustav Carlos Juan Pedro Ivan".split()
)
NUMBERED = set(  # before a Roman numeral these are counted; anyone else is "the second"
    "war chapter part volume book act scene section title article appendix phase type level "
    "stage class grade bowl episode season table figure mark fantasy rocky apollo page pages "
    "chapters volumes parts verse canto division group schedule annex tier module unit lesson "
    "step factor psalm".split()
)
RANGE_NUMBERED = set("pages chapters volumes parts books acts articles sections".split())
AFTER_ONE = set("is was of and to in began ended ruled reigned died became".split())  # "Mary I was"

# Letters and acronyms

SPELLED = set(  # capitals that are read letter by letter although they could be read as a word
    "USA US UK EU UN UAE AI API CPU GPU TPU URL URI FAQ CEO CFO CTO COO CIA FBI IBM IEEE ISO IP IQ "
    "EQ ID IDE UI UX OS USB UFO IOU ATM DIY DNA RNA EEG MRI GPA RPM SUV ETA UTC AD ISBN MIT UCLA "
    "NBA NFL NHL NCAA ACM AWS CD DVD LED OLED LCD IPA ASR EOS EST EDT NYC NYU IV ASAP IRS EPA FDA "
    "HIV HR ICU ABC NYPD UV BCE CE dpi IMO IMHO EPS USDA OECD AARP NYSE DOJ DOE DOB IPO ROI IRA "
    "VAT PIB CSI ESG ERA RBI OPS QA PA AA AAA IT OT ET OECD AOL ESL ESP USPS UPS LOL OMW IDK ADHD "
    "AFAIK AFAICT TBA ACL AFC EMT EKG ECG IUD AMC UFC UNC USC AWD FWD RWD NY ICYMI utf usb cpu gpu url api".split()
)
CAPITAL_WORDS = set(  # two or three capitals in a sentence that are a word said loudly
    "AM AN AS AT BE BY DO GO HE IF IN IS IT ME MY NO OF ON OR SO TO UP WE AH OH HI HA YO OK ADD AGE "
    "AGO AIR ALL AND ANY ARE ART ASK BAD BAG BAN BAR BAT BED BET BIG BIT BOX BOY BUS BUT BUY CAN "
    "CAR CAT CUP CUT DAD DAY DID DIE DOG DRY EAT EGG END EYE FAR FAT FEW FIT FIX FOR FUN GAS GET "
    "GOD GOT GUN GUY HAD HAS HAT HER HEY HIM HIS HIT HOT HOW ICE ILL ITS JOB JOY KEY KID LAW LAY "
    "LEG LET LIE LIP LOT LOW MAD MAN MAP MAY MEN MET MOM MUD NEW NOR NOT NOW NUT ODD OFF OIL OLD "
    "ONE OUR OUT OWN PAY PEN PET PIN PUT RED RUN SAD SAW SAY SEA SEE SET SEX SHE SIT SIX SKY SON "
    "SUN TAX TEA TEN THE TIE TOO TOP TRY TWO USE WAR WAS WAY WET WHO WHY WIN WON YES YET YOU ZOO "
    "RAM ROM COP JIT GIL GNU PEP SIL MAC CAD PAC DAX ELF JAR TAR TED SAM TOM BOB JIM TIM DAN BEN HUD FAB SIM GIF LAN WAN ZIP SAP SOS DOS NES WEB APP WOW YAY HUH AAH OOH BOO HMM GAP FIG MAX "
    "MIN SUM MOD LOG TAG RAW PER VIA SIR MIX DIM MOB HUB BUG CAP COW CRY DIG DUE EAR FAN FLY GYM HUG "
    "JAM JET JAW KIT LID MUG NAP PIE PIG PIT POP POT RAT RIB ROD ROW RUG TOY VAN RID OWE LEND".split()
)
ONSETS = set(  # how a word in capitals may begin: MBA is spelled, STOP is not
    "bl br ch cl cr cz dr dw fj fl fr gh gl gn gr kl kn kr mn ph pl pr ps pt rh sc sh sk sl sm sn "
    "sp sq st sv sw th tr ts tw wh wr ph chr phr sch scr shr spl spr str thr schw qu".split()
)
CODAS = set(  # how it may end
    "ch ck ct dd dge ff ft gh ght ld lf lk ll lm lp ls lt lth mb mp mps nc nce nch nd nds ng ngs nk "
    "nks nn ns nt nts nth nx ph pp ps pt rb rc rd rds rf rg rk rks rl rls rm rms rn rns rp rs rst "
    "rt rts rth sh sk sks sm sp ss st sts th ths ts tch tt wl wn wns ws wth cks cts dth fts gs ks "
    "bs ds fs lds lls lps lts mbs ms nths rch rve lve xt xth zz hs ys by ys bt lb".split()
)
WORDS_WITHOUT_VOWELS = set(
    "hm hmm hmmm mm mmm sh shh psst pfft brr grr nth tsk zzz cwm crwth".split()
)
PRONOUNCED = entries(  # as they are written, capitals and all
    "Tbsp:tablespoon tbsp:tablespoon TBSP:tablespoon tbsps:tablespoons Tbsps:tablespoons Tbs:tablespoon tbs:tablespoon Tsps:teaspoons tsps:teaspoons Tsp:teaspoon tsp:teaspoon TSP:teaspoon "
    "OK:okay JPEG:jay_peg MPEG:em_peg NAACP:en_double_ay_see_pee IEEE:eye_triple_ee "
    "AAA:triple_ay PhDs:pee_aitch_dees PhD:pee_aitch_dee JSON:jason YAML:yaml WWI:world_war_one "
    "WWII:world_war_two iOS:eye_oh_ess macOS:mac_oh_ess LaTeX:lay_tek TeX:tek arXiv:archive "
    "PyTorch:pie_torch NumPy:num_pie SciPy:sigh_pie PyPI:pie_pee_eye xAI:ex_ay_eye "
    "MySQL:my_ess_cue_ell nginx:engine_ex kHz:kilohertz YouTube:you_tube WiFi:wi-fi ASCII:askey REPL:repple TOML:tommel NOAA:noah HIPAA:hippa PyYAML:pie_yaml "
    "GUI:gooey NaN:not_a_number Hz:hertz MHz:megahertz GHz:gigahertz TL;DR:tee_ell_dee_are PIN:pin pH:pee_aitch pKa:pee_kay_ay mRNA:em_are_en_ay tRNA:tee_are_en_ay IPv:eye_pee_vee aet:after_extra_time"
)
IT_VERBS = set(  # "do IT" is the pronoun, "our IT team" is not
    "do did does love hate make made get got that is was if when because like want need think know "
    "say said see saw take took give gave leave stop use try finish mean as than though".split()
)

# Addresses of the web, files and keys

DOMAINS = "com org net edu gov io dev app info ai co uk eu de fr ca tv".split()
EXTENSIONS = {  # of files, and how they are said
    **{
        name: ""
        for name in "md txt pdf js ts html css csv xml png svg bmp tiff wav flac ogg mp3 "
        "mp4 mkv zip tar gz exe doc docx xls xlsx ppt pptx sh cpp ini toml log srt sql".split()
    },
    "py": "pie",
    "json": "jason",
    "jsonl": "jason ell",
    "jpg": "jay peg",
    "jpeg": "jay peg",
    "yaml": "yammel",
    "yml": "yammel",
}
IN_ADDRESS = {
    ".": "dot",
    "@": "at",
    "/": "slash",
    "\\": "backslash",
    "-": "dash",
    "_": "underscore",
    ":": "colon",
    "?": "question mark",
    "=": "equals",
    "&": "and",
    "#": "hash",
    "%": "percent",
    "+": "plus",
    "~": "tilde",
}

KEYS = entries(
    "Ctrl:control Cmd:command Alt:alt Shift:shift Opt:option Option:option Esc:escape Del:delete "
    "Win:windows Fn:function Control:control Command:command Meta:meta Super:super"
)

# Science

ELEMENTS = entries(
    "H:hydrogen He:helium Li:lithium Be:beryllium B:boron C:carbon N:nitrogen O:oxygen F:fluorine "
    "Ne:neon Na:sodium Mg:magnesium Al:aluminum Si:silicon P:phosphorus S:sulfur Cl:chlorine "
    "Ar:argon K:potassium Ca:calcium Sc:scandium Ti:titanium V:vanadium Cr:chromium Mn:manganese "
    "Fe:iron Co:cobalt Ni:nickel Cu:copper Zn:zinc Ga:gallium Ge:germanium As:arsenic Se:selenium "
    "Br:bromine Kr:krypton Rb:rubidium Sr:strontium Y:yttrium Zr:zirconium Nb:niobium "
    "Mo:molybdenum Tc:technetium Ru:ruthenium Rh:rhodium Pd:palladium Ag:silver Cd:cadmium "
    "In:indium Sn:tin Sb:antimony Te:tellurium I:iodine Xe:xenon Cs:cesium Ba:barium La:lanthanum "
    "Ce:cerium Nd:neodymium Sm:samarium Eu:europium Gd:gadolinium Tb:terbium Dy:dysprosium "
    "Er:erbium Yb:ytterbium Lu:lutetium Hf:hafnium Ta:tantalum W:tungsten Re:rhenium Os:osmium "
    "Ir:iridium Pt:platinum Au:gold Hg:mercury Tl:thallium Pb:lead Bi:bismuth Po:polonium "
    "At:astatine Rn:radon Ra:radium Ac:actinium Th:thorium U:uranium Np:neptunium Pu:plutonium "
    "Am:americium Cm:curium Cf:californium"
)
FORMULAS = set(  # chemical formulas without a digit
    "NaCl HCl KCl NaOH KOH HBr HI HF NaF KBr KI AgCl MgO CaO ZnO CuO FeO NaBr LiCl LiF NaI HCN NaCN "
    "KCN SiC GaN GaAs InP CdTe ZnS CdS PbS FeS LiH CsCl AgBr AgI TiN NiO CoO MnO PbO HgO BaO LiOH "
    "NaH KH CuS HgS FeCl NaClO HClO Cl2 Br2 NiMH NiCd".split()
)
METALS = set("Na Mg Al Fe Cu Zn Ca Ag Pb Li Cl Br Hg Mn Ni Sn".split())  # "2Na"
IONS = set(  # before a plain "+" or "-"
    "H Li Na K Ag NH4 H3O Cu Cu2 Ca2 Mg2 Fe2 Fe3 Zn2 Al3 Mn2 Ba2 Pb2 Ni2 Co2 Hg2 Cl Br F I OH NO3 "
    "NO2 HCO3 HSO4 CN MnO4 ClO ClO3 ClO4 H2PO4 CH3COO HS O2 S2".split()
)
LATEX = entries(
    "times:times cdot:times ast:times div:divided_by pm:plus_or_minus mp:minus_or_plus "
    "le:less_than_or_equal_to leq:less_than_or_equal_to ge:greater_than_or_equal_to "
    "geq:greater_than_or_equal_to lt:less_than gt:greater_than ll:much_less_than "
    "gg:much_greater_than neq:not_equal_to ne:not_equal_to approx:about sim:similar_to "
    "simeq:approximately_equal_to cong:congruent_to equiv:identical_to propto:proportional_to "
    "infty:infinity partial:partial nabla:nabla forall:for_all exists:there_exists in:in "
    "notin:not_in ni:contains subset:a_subset_of subseteq:a_subset_of_or_equal_to "
    "supset:a_superset_of cup:union cap:intersection emptyset:the_empty_set "
    "varnothing:the_empty_set setminus:minus to:to rightarrow:to longrightarrow:to "
    "Rightarrow:implies implies:implies iff:if_and_only_if Leftrightarrow:if_and_only_if "
    "leftarrow:from mapsto:maps_to land:and wedge:and lor:or vee:or neg:not lnot:not angle:angle "
    "circ:degrees degree:degrees ldots:and_so_on cdots:and_so_on dots:and_so_on prime:prime "
    "hbar:aitch_bar ell:ell Re:the_real_part_of Im:the_imaginary_part_of perp:perpendicular_to "
    "parallel:parallel_to mid:given therefore:therefore because:because oplus:plus otimes:times "
    "varepsilon:epsilon varphi:phi vartheta:theta mod:mod bmod:mod pmod:mod dagger:dagger "
    "star:star square:square triangle:triangle pi:pi Pi:pi"
)
LATEX_ACCENTS = entries(
    "hat:hat bar:bar vec:vector tilde:tilde dot:dot ddot:double_dot overline:bar widehat:hat "
    "widetilde:tilde underline:underlined"
)
LATEX_TEXT = set(
    "text mathrm mathbf mathit mathsf mathtt operatorname textbf textit textrm".split()
)
LATEX_SILENT = set(
    "left right big Big bigg Bigg bigl bigr displaystyle textstyle quad qquad limits nolimits "
    "mathbb mathcal mathfrak boldsymbol boxed tag label nonumber hline".split()
)
