"""What the text front end knows by heart. To teach it something, add a line here."""

TITLES = {  # before a name: their full stop never ends a sentence, and may be left out
    "Mr.": "mister",
    "Mrs.": "missus",
    "Dr.": "doctor",
    "Prof.": "professor",
    "Capt.": "captain",
    "Lt.": "lieutenant",
    "Sgt.": "sergeant",
    "Gov.": "governor",
}
NAMED = {  # only with these capitals and before another, otherwise they are words
    "Gen.": "general",
    "Col.": "colonel",
    "Maj.": "major",
    "Rev.": "reverend",
    "Sen.": "senator",
    "Rep.": "representative",
    "Hon.": "honorable",
    "Pres.": "president",
    "Ft.": "fort",
}
ABBREVIATIONS = {  # only with their full stop
    "Ms.": "miss",
    "Mt.": "mount",
    "Jr.": "junior",
    "Sr.": "senior",
    "Ave.": "avenue",
    "Blvd.": "boulevard",
    "Rd.": "road",
    "Co.": "company",
    "Corp.": "corporation",
    "Inc.": "incorporated",
    "Ltd.": "limited",
    "Dept.": "department",
    "approx.": "approximately",
    "etc.": "et cetera",
    "et al.": "et al",
    "vs.": "versus",
    "e.g.": "for example",
    "i.e.": "that is",
    "a.k.a.": "also known as",
    "Esq.": "esquire",
    "Ph.D.": "pee aitch dee",
}
NEVER_LAST = set("Ms. Mt. e.g. i.e. vs. approx. a.k.a.".split())
COUNTED = {  # with a full stop and before a number
    "no": "number",
    "nos": "numbers",
    "p": "page",
    "pp": "pages",
    "ch": "chapter",
    "vol": "volume",
    "fig": "figure",
    "figs": "figures",
    "eq": "equation",
    "ext": "extension",
    "tel": "telephone",
    "apt": "apartment",
    "est": "established",
    "c": "circa",
    "ca": "circa",
}
SHORT_WORDS = {"w/o": "without", "w/": "with", "vs": "versus", "'n'": "and"}
STREETS = {"St": ("saint", "street"), "Dr": ("doctor", "drive")}  # before a name, after a name
STARTERS = set(  # after a full stop these begin a sentence: a name would look otherwise
    "He She It They We You The This That These Those There But And Then When While If So In On At "
    "His Her Its Our My Their Your What Who How Why Where After Before Now Not No Yes".split()
)
STATES = {  # before a postal code
    code: name.replace("_", " ")
    for code, name in (
        entry.split(":")
        for entry in "AL:alabama AK:alaska AZ:arizona AR:arkansas CA:california CO:colorado "
        "CT:connecticut DE:delaware FL:florida GA:georgia HI:hawaii ID:idaho IL:illinois "
        "IN:indiana IA:iowa KS:kansas KY:kentucky LA:louisiana ME:maine MD:maryland "
        "MA:massachusetts MI:michigan MN:minnesota MS:mississippi MO:missouri MT:montana "
        "NE:nebraska NV:nevada NH:new_hampshire NJ:new_jersey NM:new_mexico NY:new_york "
        "NC:north_carolina ND:north_dakota OH:ohio OK:oklahoma OR:oregon PA:pennsylvania "
        "RI:rhode_island SC:south_carolina SD:south_dakota TN:tennessee TX:texas UT:utah "
        "VT:vermont VA:virginia WA:washington WV:west_virginia WI:wisconsin WY:wyoming "
        "DC:dee_see".split()
    )
}

MONTH_NAMES = (
    "january february march april may june july august september october november december"
).split()
MONTHS = {name.capitalize(): name for name in MONTH_NAMES}
MONTHS |= {name[:3].capitalize(): name for name in MONTH_NAMES if name != "may"}
MONTHS["Sept"] = "september"
WEEKDAYS = {
    "Mon": "monday",
    "Tue": "tuesday",
    "Tues": "tuesday",
    "Wed": "wednesday",
    "Thu": "thursday",
    "Thur": "thursday",
    "Thurs": "thursday",
    "Fri": "friday",
    "Sat": "saturday",
    "Sun": "sunday",
}

CURRENCIES = {  # one, many, one small coin, many; without a small coin the fraction is read out
    "US$": ("you ess dollar", "you ess dollars", "cent", "cents"),
    "A$": ("australian dollar", "australian dollars", "cent", "cents"),
    "C$": ("canadian dollar", "canadian dollars", "cent", "cents"),
    "$": ("dollar", "dollars", "cent", "cents"),
    "\u00a3": ("pound", "pounds", "penny", "pence"),
    "\u20ac": ("euro", "euros", "cent", "cents"),
    "\u00a5": ("yen", "yen", "", ""),
    "\u20b9": ("rupee", "rupees", "paisa", "paise"),
    "\u20a9": ("won", "won", "", ""),
    "\u20bd": ("ruble", "rubles", "kopeck", "kopecks"),
    "CHF": ("swiss franc", "swiss francs", "", ""),
}
CURRENCIES |= {
    code: CURRENCIES[sign]
    for code, sign in {
        "USD": "US$",
        "AUD": "A$",
        "CAD": "C$",
        "GBP": "\u00a3",
        "EUR": "\u20ac",
        "JPY": "\u00a5",
        "INR": "\u20b9",
    }.items()
}
COINS = {"\u00a2": ("cent", "cents")}  # after a figure
SCALES = {
    "thousand": "thousand",
    "million": "million",
    "billion": "billion",
    "trillion": "trillion",
    "bn": "billion",
    "tn": "trillion",
    "k": "thousand",
    "K": "thousand",
    "m": "million",
    "M": "million",
    "B": "billion",
    "T": "trillion",
}

UNITS = {  # after a figure, alone or with "/" and another, "^2" or "^3"
    "%": ("percent", "percent"),
    "\u00b0C": ("degree celsius", "degrees celsius"),
    "\u00b0F": ("degree fahrenheit", "degrees fahrenheit"),
    "\u00b0": ("degree", "degrees"),
    "km": ("kilometer", "kilometers"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "\u03bcm": ("micrometer", "micrometers"),
    "nm": ("nanometer", "nanometers"),
    "m": ("meter", "meters"),
    "mi": ("mile", "miles"),
    "ft": ("foot", "feet"),
    "yd": ("yard", "yards"),
    "kg": ("kilogram", "kilograms"),
    "mg": ("milligram", "milligrams"),
    "\u03bcg": ("microgram", "micrograms"),
    "g": ("gram", "grams"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "ml": ("milliliter", "milliliters"),
    "mL": ("milliliter", "milliliters"),
    "l": ("liter", "liters"),
    "L": ("liter", "liters"),
    "tsp": ("teaspoon", "teaspoons"),
    "tbsp": ("tablespoon", "tablespoons"),
    "ms": ("millisecond", "milliseconds"),
    "s": ("second", "seconds"),
    "sec": ("second", "seconds"),
    "secs": ("second", "seconds"),
    "min": ("minute", "minutes"),
    "mins": ("minute", "minutes"),
    "h": ("hour", "hours"),
    "hr": ("hour", "hours"),
    "hrs": ("hour", "hours"),
    "mph": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "Hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"),
    "KB": ("kilobyte", "kilobytes"),
    "kB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"),
    "GB": ("gigabyte", "gigabytes"),
    "TB": ("terabyte", "terabytes"),
    "bps": ("bit per second", "bits per second"),
    "kbps": ("kilobit per second", "kilobits per second"),
    "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
    "px": ("pixel", "pixels"),
    "W": ("watt", "watts"),
    "kW": ("kilowatt", "kilowatts"),
    "MW": ("megawatt", "megawatts"),
    "kWh": ("kilowatt hour", "kilowatt hours"),
    "V": ("volt", "volts"),
    "mA": ("milliampere", "milliamperes"),
    "Pa": ("pascal", "pascals"),
    "kPa": ("kilopascal", "kilopascals"),
    "kcal": ("kilocalorie", "kilocalories"),
    "dB": ("decibel", "decibels"),
    "x": ("times", "times"),
    "M": ("million", "million"),
    "bn": ("billion", "billion"),
}
TIMES = set("ms s sec secs min mins h hr hrs".split())  # "squared" comes after these
PER = {  # after "/" and an amount, besides UNITS
    word: word
    for word in "second minute hour day night week month year person mile pound gallon page "
    "user unit liter gram kilogram kilometer piece share word".split()
} | {"mo": "month", "yr": "year", "wk": "week"}
MEASURES = set(  # "3/4 cup" is "three quarters of a cup"
    "cup teaspoon tablespoon pint quart gallon liter inch foot yard mile kilometer meter acre "
    "pound ounce kilogram gram hour minute second day year century dozen".split()
)
DIRECTIONS = {"N": "north", "S": "south", "E": "east", "W": "west"}  # after degrees

HALVES = {2: ("half", "halves"), 4: ("quarter", "quarters")}
DENOMINATORS = {2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 32, 64, 100, 1000}  # others are "over"
SAID_APART = {"9/11", "24/7", "50/50", "20/20"}

REGNAL = set(  # single letters after these names are numbers, as in "Charles V"
    "Henry Charles Louis Elizabeth George Edward James William Mary Richard Paul Pius Francis "
    "Philip Napoleon Nicholas Peter Catherine Alexander Frederick Ferdinand Leopold Otto Wilhelm "
    "Gregory Benedict Leo Clement Innocent Christian Gustav Carlos Juan Pedro Ivan".split()
)
NUMBERED = set(  # before a Roman numeral these are counted; anyone else is "the second"
    "war chapter part volume book act scene section title article appendix phase type level "
    "stage class grade bowl episode season table figure mark fantasy rocky apollo".split()
)
AFTER_ONE = set("is was of and to in began ended ruled reigned died became".split())  # "Mary I was"

SPELLED = set(  # capitals that are said letter by letter although they could be read as a word
    "USA US UK EU UN UAE AI API CPU GPU TPU URL URI FAQ CEO CFO CTO COO CIA FBI IBM IEEE ISO IP IQ "
    "EQ ID IDE UI UX OS USB UFO IOU ATM DIY DNA RNA EEG MRI GPA RPM SUV ETA UTC AD ISBN MIT "
    "UCLA NBA NFL NHL NCAA ACM AWS CD DVD LED OLED LCD IPA ASR EOS EST EDT NYC NYU IV ASAP "
    "IRS EPA FDA HIV HR ICU ABC NYPD UV BCE dpi".split()
)
ONSETS = set(  # how a word in capitals may begin: MBA is spelled, STOP is not
    "bl br ch cl cr cz dr dw fj fl fr gh gl gn gr kl kn kr mn ph pl pr ps pt rh sc sh sk sl sm sn "
    "sp sq st sv sw th tr ts tw wh wr ph chr phr sch scr shr spl spr str thr schw".split()
)
WORDS_WITHOUT_VOWELS = set(
    "hm hmm hmmm mm mmm sh shh psst pfft brr grr nth tsk zzz cwm crwth pst".split()
)
SAID_AS = {  # as they are written, capitals and all
    "OK": "okay",
    "JPEG": "jay peg",
    "MPEG": "em peg",
    "NAACP": "en double ay see pee",
    "IEEE": "eye triple ee",
    "AAA": "triple ay",
    "PhDs": "pee aitch dees",
    "JSON": "jason",
    "WWI": "world war one",
    "WWII": "world war two",
    "iOS": "eye oh ess",
}

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

_NAMES = (
    "ay bee see dee ee eff gee aitch eye jay kay ell em en oh pee cue are ess tee you vee "
    "double_you ex why zee"
).split()
LETTER_NAMES = {chr(97 + i): name.replace("_", " ") for i, name in enumerate(_NAMES)}
