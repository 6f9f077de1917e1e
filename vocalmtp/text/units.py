"""Tables of currencies, units of measure and counted things. To add a unit, add an entry here."""

from vocalmtp.text.tables import entries

# Currencies: sign or code, one, many, one small coin, many. Without a small coin the fraction is
# read out.

_DOLLARS = entries(
    "$: US$:you_ess A$:australian AU$:australian C$:canadian CA$:canadian NZ$:new_zealand "
    "HK$:hong_kong S$:singapore SG$:singapore NT$:taiwan"
)
CURRENCIES = {
    sign: (f"{land} dollar".strip(), f"{land} dollars".strip(), "cent", "cents")
    for sign, land in _DOLLARS.items()
} | {
    sign: tuple(words.replace("_", " ").split("|"))
    for sign, words in entries(
        "\u00a3:pound|pounds|penny|pence \u20ac:euro|euros|cent|cents \u00a5:yen|yen|| "
        "\u20b9:rupee|rupees|paisa|paise Rs.:rupee|rupees|paisa|paise "
        "Rs:rupee|rupees|paisa|paise \u20a9:won|won|| \u20bd:ruble|rubles|kopeck|kopecks "
        "\u20ba:lira|liras|| \u20aa:shekel|shekels|| \u20ab:dong|dong|| "
        "\u20b1:peso|pesos|centavo|centavos \u20b4:hryvnia|hryvnias|| \u20a6:naira|naira|| "
        "\u0e3f:baht|baht|| \u20bf:bitcoin|bitcoins|| \u20a1:colon|colones|| "
        "R$:real|reais|centavo|centavos MX$:mexican_peso|mexican_pesos|centavo|centavos "
        "CHF:swiss_franc|swiss_francs|rappen|rappen Fr.:franc|francs|centime|centimes kr:krona|kronor|| kr.:krona|kronor|| "
        "z\u0142:zloty|zlotys|| zl:zloty|zlotys|| RM:ringgit|ringgit|sen|sen "
        "SEK:swedish_krona|swedish_kronor|| NOK:norwegian_krone|norwegian_kroner|| "
        "DKK:danish_krone|danish_kroner|| PLN:zloty|zlotys|| CZK:czech_koruna|czech_korunas|| Kc:czech_koruna|czech_korunas|| "
        "HUF:forint|forints|| CNY:yuan|yuan|| RMB:yuan|yuan|| KRW:won|won|| "
        "BRL:real|reais|centavo|centavos MXN:mexican_peso|mexican_pesos|centavo|centavos "
        "TRY:lira|liras|| ZAR:rand|rand|cent|cents RUB:ruble|rubles|kopeck|kopecks "
        "THB:baht|baht|| ILS:shekel|shekels|| AED:dirham|dirhams|| SAR:riyal|riyals|halala|halalas "
        "NGN:naira|naira|| PHP:peso|pesos|centavo|centavos BTC:bitcoin|bitcoins|| "
        "ETH:ether|ether||"
    ).items()
}
CURRENCIES |= {
    code: CURRENCIES[sign]
    for code, sign in entries(
        "USD:US$ AUD:A$ CAD:C$ NZD:NZ$ HKD:HK$ SGD:S$ GBP:\u00a3 EUR:\u20ac JPY:\u00a5 INR:\u20b9"
    ).items()
}
CURRENCY_SIGNS = "[$\u00a3\u20ac\u00a5\u20b9\u20a9\u20bd\u20ba\u20aa\u20ab\u20b1\u20b4\u20a6\u20bf]"
COINS = {"\u00a2": ("cent", "cents"), "p": ("penny", "pence")}  # after a number
SCALES = entries(
    "thousand:thousand million:million billion:billion trillion:trillion mn:million mln:million "
    "mil:million bn:billion bln:billion tn:trillion trn:trillion k:thousand K:thousand m:million "
    "M:million B:billion b:billion T:trillion lakh:lakh crore:crore"
)

# Units after a number, alone or with "/" and another, "^2" or "^3".

_PREFIXES = entries(
    "p:pico n:nano \u03bc:micro u:micro m:milli c:centi d:deci h:hecto k:kilo K:kilo M:mega "
    "G:giga T:tera P:peta E:exa Ki:kibi Mi:mebi Gi:gibi Ti:tebi"
)
_METRIC = {  # a unit, its name and the prefixes that it takes
    unit: (name.replace("_", " "), prefixes.split(","))
    for unit, name, prefixes in (
        entry.split(":")
        for entry in "m:meter:n,\u03bc,m,c,d,k g:gram:p,n,\u03bc,u,m,c,d,k s:second:p,n,\u03bc,m "
        "L:liter:n,p,\u03bc,u,m,c,d,h,k l:liter:\u03bc,m,c,d,h W:watt:\u03bc,m,k,M,G,T "
        "V:volt:n,\u03bc,m,k,M A:ampere:p,n,\u03bc,u,m,k Hz:hertz:m,k,M,G,T Pa:pascal:m,h,k,M,G "
        "J:joule:\u03bc,m,k,M,G N:newton:\u03bc,m,k,M eV:electron_volt:m,k,M,G,T "
        "F:farad:p,n,\u03bc,u,m H:henry:n,\u03bc,m \u03a9:ohm:m,k,M,G mol:mole:n,\u03bc,u,m,k "
        "M:molar:p,n,\u03bc,u,m Sv:sievert:n,\u03bc,m Gy:gray:m,c Bq:becquerel:k,M,G T:tesla:n,\u03bc,m "
        "cal:calorie:k bar:bar:m Wh:watt_hour:m,k,M,G,T Ah:ampere_hour:m Da:dalton:k,M "
        "B:byte:k,K,M,G,T,P,E,Ki,Mi,Gi,Ti b:bit:k,K,M,G,T bps:bit_per_second:k,K,M,G,T "
        "FLOPS:flops:M,G,T,P,E flops:flops:M,G,T,P,E sec:second:m Osm:osmole:m Eq:equivalent:m "
        "pc:parsec:k,M,G lm:lumen:k Ci:curie:\u03bc,m rad:radian:m VA:volt_ampere:k,M".split()
    )
}
# These letters alone after a number are more often something else.
_NEVER_ALONE = set("A N F H M T B b bps Eq Osm pc FLOPS flops Ci".split())
_SINGLE = entries(
    "%:percent pct:percent \u00b0C:degree_celsius \u00b0F:degree_fahrenheit \u00b0:degree "
    "mcg:microgram mi:mile ft:foot yd:yard yds:yard in.:inch nmi:nautical_mile lb:pound lbs:pound oz:ounce "
    "fl_oz:fluid_ounce fl._oz:fluid_ounce st.:stone t:tonne Mt:megatonne Gt:gigatonne cc:c_c "
    "tsp:teaspoon Tsp:teaspoon TSP:teaspoon tsps:teaspoon tbsp:tablespoon Tbsp:tablespoon "
    "TBSP:tablespoon tbsps:tablespoon tbs:tablespoon Tbs:tablespoon pt:pint pts:point qt:quart "
    "qts:quart gal:gallon gals:gallon pkg:package doz:dozen "
    "KG:kilogram KM:kilometer LB:pound LBS:pound CM:centimeter mbps:megabit_per_second "
    "gbps:gigabit_per_second secs:second min:minute mins:minute h:hour hr:hour hrs:hour wk:week wks:week mo:month "
    "mos:month yr:year yrs:year yo:year_old y/o:year_old mph:mile_per_hour "
    "kph:kilometer_per_hour kmh:kilometer_per_hour km/hr:kilometer_per_hour kn:knot kt:knot "
    "kts:knot mpg:mile_per_gallon hp:horsepower bhp:brake_horsepower "
    "rpm:revolution_per_minute RPM:revolution_per_minute bpm:beat_per_minute "
    "BPM:beat_per_minute fps:frame_per_second dpi:dot_per_inch ppi:pixel_per_inch "
    "wpm:word_per_minute ppm:part_per_million ppb:part_per_billion ppt:part_per_trillion "
    "mmHg:millimeter_of_mercury mm_Hg:millimeter_of_mercury inHg:inch_of_mercury "
    "cmH2O:centimeter_of_water psi:pound_per_square_inch PSI:pound_per_square_inch "
    "atm:atmosphere torr:torr IU:international_unit dB:decibel dBA:decibel dBm:d_b_m "
    "px:pixel MP:megapixel Mpx:megapixel bp:basis_point ha:hectare ac:acre "
    "sq_ft:square_foot sq._ft:square_foot sqft:square_foot sq_m:square_meter sq._m:square_meter "
    "sqm:square_meter sq_mi:square_mile sq._mi:square_mile sq_km:square_kilometer "
    "sq._km:square_kilometer sq_in:square_inch sq._in:square_inch sq_yd:square_yard "
    "cu_ft:cubic_foot cu._ft:cubic_foot cu_in:cubic_inch cu_yd:cubic_yard cu_m:cubic_meter "
    "cfm:cubic_foot_per_minute gpm:gallon_per_minute ft-lb:foot_pound ft-lbs:foot_pound "
    "lb-ft:pound_foot ft_lb:foot_pound ft_lbs:foot_pound Nm:newton_meter ly:light_year "
    "AU:astronomical_unit cd:candela lx:lux ct:carat kcals:kilocalorie bbl:barrel pc:piece pcs:piece N·m:newton_meter kg·m:kilogram_meter lb·ft:pound_foot "
    "TOPS:trillion_operations_per_second x:times pp:percentage_point deg:degree"
)
_IRREGULAR = {"foot": "feet", "inch": "inches", "henry": "henries", "century": "centuries"} | {
    word: word
    for word in "hertz lux siemens molar percent horsepower kelvin bar torr times c flops "
    "stone operations m".split()
}


def _many(one: str) -> str:
    """ "mile per hour" -> "miles per hour", "degree celsius" -> "degrees celsius"."""
    for link in (" per ", " of ", " celsius", " fahrenheit", " old"):
        if link in one:
            head, rest = one.split(link, 1)
            return _many(head) + link + rest
    before, _, last = one.rpartition(" ")
    for singular, plural in _IRREGULAR.items():
        if last == singular or (len(singular) > 2 and last.endswith(singular)):
            return f"{before} {last.removesuffix(singular)}{plural}".strip()
    return f"{one}s"


_NAMES = {unit: name for unit, (name, _) in _METRIC.items() if unit not in _NEVER_ALONE}
_NAMES |= {
    prefix + unit: _PREFIXES[prefix] + name
    for unit, (name, prefixes) in _METRIC.items()
    for prefix in prefixes
}
_NAMES |= _SINGLE
UNITS = {unit: (name, _many(name)) for unit, name in _NAMES.items()}
UNITS |= {"M": ("million", "million"), "bn": ("billion", "billion"), "mn": ("million", "million")}
UNITS |= {"tn": ("trillion", "trillion")}
TIMES = set("ms s sec secs min mins h hr hrs".split())  # "squared" comes after these
PER = {  # after "/" and an amount, besides UNITS
    word: word
    for word in "second minute hour day night week month year person mile pound gallon page beat "
    "user unit liter gram kilogram kilometer piece share word head dose serving item seat "
    "capita inch foot ton barrel token request student employee household game".split()
} | entries("mo:month yr:year wk:week d:day sqft:square_foot tok:token in:inch ea:each U:unit")
RATE_NOUNS = entries(  # counted before "/s" and the like
    "it:iterations tok:tokens tokens:tokens req:requests reqs:requests img:images imgs:images "
    "samples:samples pages:pages words:words beats:beats breaths:breaths people:people U:units "
    "frames:frames CFU:CFU PFU:PFU cells:cells copies:copies"
)
MEASURES = set(  # "3/4 cup" is "three quarters of a cup"
    "cup teaspoon tablespoon pint quart gallon liter inch foot yard mile kilometer meter acre "
    "pound ounce kilogram gram hour minute second day year century dozen".split()
)
ONCE = set("hour ounce inch acre".split())  # with "an"
COUNTED = (  # what comes in millions: "5m people"
    "people|users|viewers|views|followers|subscribers|customers|members|jobs|homes|households|"
    "visitors|visits|copies|units|votes|voters|players|barrels|tons|tonnes|workers|students|"
    "children|adults|patients|downloads|cars|vehicles|passengers|tourists|refugees|residents|"
    "inhabitants|citizens|Americans|Britons|listeners|readers|fans|sales|shares|rows|records|"
    "tokens|parameters|params|steps|samples|words|dollars|euros|pounds|years|acres|hectares|"
    "times|deaths|cases|doses|tests|trees|streams|plays|likes|accounts|businesses|requests|"
    "migrants|immigrants|speakers|employees|families|pupils|animals|birds|bottles"
)
DESCRIBED = (  # things that a length, weight or time describes: "a 12 oz. can"
    "bag|can|tins?|bottle|box|tablets?|pills?|capsules?|dose|battery|charger|adapter|bulb|engine|pipe|cable|"
    "cord|rope|drive|disk|SSD|card|lens|camera|screen|monitor|display|TV|walk|ride|hike|run|swim|"
    "dash|race|sprint|relay|final|hurdles|wall|tower|fence|pole|ladder|board|plank|pan|pizza|cake|"
    "steak|burger|dumbbell|truck|container|tank|drum|jar|pack|packet|flask|photo|print|rug|lot|plot|"
    "gun|rifle|shell|bomb|delay|timeout|timer|limit|break|pause|clip|video|call|meeting|flight|trip|"
    "commute|interval|warranty|contract|loan|lease|sentence|process|chip|node|laser|band|signal|"
    "connection|line|link|modem|boy|girl|man|woman|child|baby|male|female|patient|zone|cut|hike|"
    "diamond|range|ring|bolt|screw|nail|nut|drill|knife|blade|ruler|tape|roll|sheet|file|download|font|"
    "V[4-9]|V1\\d|turbo|stretch|wind|winds|rule|mark|course|track|pool|event|freestyle|backstroke"
)
ATTRIBUTED = (  # what an amount of money without an article goes before: "a £1.5bn deal"
    "deal|bill|note|fine|budget|loan|contract|fund|project|investment|package|plan|prize|bonus|"
    "fee|ticket|coupon|settlement|bond|mortgage|gift|lawsuit|company|market|industry|house|"
    "acquisition|takeover|merger|round|valuation|stake|scheme|cut|coin|lunch|meal|burger|pizza|"
    "coffee|subsidy|bailout|bid|offer|buyout|discount|rebate|deposit|refund|voucher|question|"
    "program|programme|home|mansion|property|penthouse|startup|business|jackpot|lottery|"
    "surplus|deficit|hole|shortfall|loss|profit|windfall|grant|donation|price|tag|payment|"
    "salary|laptop|phone|watch|car|suit|dress|haircut|tip|minimum|limit|charge|toll|fare"
)

HALVES = {2: ("half", "halves"), 4: ("quarter", "quarters")}
DENOMINATORS = {2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 32, 64, 100, 1000}  # others are "over"
READ_APART = {"9/11", "24/7", "50/50", "20/20", "4/4", "6/8", "12/8", "80/20", "60/40", "70/30"}
DIRECTIONS = {"N": "north", "S": "south", "E": "east", "W": "west"}
