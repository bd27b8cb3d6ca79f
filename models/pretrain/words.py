"""The words that the pretraining corpus draws from: all written for this corpus, none taken from a data set.

Holds verb groups, nouns, adjectives, units, names of places, people and companies, and the words that
occur in the demo's own tools. `DEMO_WORDS` must be familiar to the model, but a tool name made of nothing else
is never built (see `models.pretrain.tools.draw_name`), so the demo's tools stay unseen.
"""


def _split(text: str) -> list[str]:
    return text.split()


# One group a line: verbs of a group can stand for one another in a request.
VERB_GROUPS: list[list[str]] = [
    line.split()
    for line in """
get fetch show retrieve pull
find search locate seek
compute calculate derive determine
list enumerate browse collect
create make build generate
delete remove erase drop
update change modify edit
send deliver post forward
book reserve schedule arrange
cancel revoke abort withdraw
open load launch start
close shut stop end
check verify validate inspect
convert translate transform turn
count tally number
sort order rank arrange
merge combine join unite
split divide separate cut
move shift transfer relocate
copy duplicate clone replicate
rename relabel retitle
save store keep archive
write record note log
read scan view
append add attach insert
print display draw plot
compare contrast match
measure gauge weigh sample
estimate predict forecast guess
buy purchase acquire
sell offer trade
pay settle refund
rent lease hire
assign allocate give
invite call contact ring
approve accept confirm sign
reject refuse deny decline
import ingest upload
export download extract
filter select pick choose
group cluster bucket
round trim clip truncate
scale resize stretch shrink
rotate flip mirror
encode compress pack zip
decode decompress unpack unzip
lock protect secure encrypt
unlock release free decrypt
enable activate switch
disable deactivate mute
track follow trace monitor
report summarize describe explain
test try probe
repair fix patch restore
clean wash clear purge
paint colour label tag
plan design sketch outline
publish share announce
subscribe register enroll
review rate score grade
cook bake brew heat
grow plant water harvest
charge fill refill recharge
drain empty discharge
mix blend stir
ship route dispatch
map navigate guide
tune adjust calibrate set
reset restart reboot
ask query request
""".strip().splitlines()
]

NOUNS: list[str] = _split("""
account actor address agenda airport album alarm animal answer apple arrow article artist atlas badge bag ball band
bank banner barn barrel basket battery beach beam bean bear bed bee bell belt bench berry bicycle bill bird blanket
block board boat bolt bond bone book boot border bottle bowl box branch brand bread brick bridge brush bucket budget
bug building bus bush button cabin cable cake calendar camera camp candle canvas car card cargo carpet cart case
cash castle cat cave cell cellar chain chair chamber channel chapter chart chat cheese chest chicken child church
circle circuit city claim class client cliff clock cloth cloud club coach coal coast coat code coffee coin colony
column comet comment community company compass concert contact contract corner cotton council country course court
cow crane crew crop crowd crown crystal cup curtain curve customer cycle dam dance deck deer desert desk device
diary dish district doctor document dog doll door dragon drawer dream dress drill drink driver drum duck dust eagle
ear editor egg elevator employee engine entry envelope error estate event exam exhibit fabric face fan farm feather
fee fence ferry festival field figure film filter finger fire firm fish flag flame flight floor flower fog force
forest fork formula fountain fox frame friend frog fruit fuel funnel game garage garden garment gate gem ghost gift
giraffe glass globe glove goal goat gold goose grade grain grape graph grass grid group guest guide guitar hall
hammer hand harbor hat hawk heart height helmet herb hill holiday honey hook horse hospital hotel house ice icon
image index insect invoice island item ivory jacket jam jar jewel job journal journey judge juice jungle kettle key
king kitchen kite knife knot label lab ladder lake lamp land lane laptop lawn layer leaf league lease leather
lecture lemon lens lesson letter library license light lily line lion liquid loan lobby lock log loop lot lounge
lunch machine magnet mail manager map maple marble market mask match meadow meal meat medal medicine meeting melody
member memo menu message metal meter mill mine mint mirror mission mixer model moment monitor monkey moon motor
mountain mouse movie museum music nail napkin needle nest net news night node noise north notebook nurse oak object
ocean office oil olive onion orange orchard order organ outlet oven owl owner oyster package paddle page paint
palace panel paper parcel park part party passenger patch patient payment peach pear pearl pen pencil pepper person
phone photo piano picture pie pigeon pillow pilot pin pine pipe place plan planet plant plate platform play player
pocket poem poet point poll pond pool port portal poster pot potato powder prize product profile project pump pupil
puzzle queen quest quilt rabbit race radar radio rail rain ranch recipe record region reminder rental report request
reservation resort result review reward ribbon rice ring river road robot rock rocket roof room root rope rose route
ruler sail salad sale salt sand sauce scene school screen script sea season seat secret seed sensor sentence server
session shadow shape sheep sheet shelf shell ship shirt shoe shop signal silk silver singer sink skill sky snake
snow soap sock sofa soil soldier song sound soup spider spoon spring square stable stadium staff stage stamp star
station statue steam steel stock stone store storm story stove straw stream street student studio subject sugar suit
summer sun survey sweater switch symbol tank tape target task tax taxi tea teacher team telescope temperature temple
tent term theater ticket tide tiger tile timer title toast token tool tooth topic torch towel tower town toy track
tractor train trail tree trip trophy truck tunnel turtle tutor uncle uniform user valley van vase vehicle vendor
vessel video village vine violin visit visitor voice volcano voucher wagon wall wallet warehouse watch water wave
weather web wedding wheat wheel whistle wind window wine winter wire wolf wood wool word worker workshop world yard
zebra zone
""")

ADJECTIVES: list[str] = _split("""
active annual average big black blue bold brief bright broken busy calm cheap clean clear closed cold common cool
current daily dark deep digital direct dry early eastern easy empty exact extra famous fast final fine first flat
foreign fresh full future general gentle global good grand gray great green happy hard heavy high hidden hot hourly
inner large last late latest light local long loud lower lucky main major maximum minimum minor mobile modern
monthly narrow new next nightly northern old online open outer pale past plain primary private public pure quick
quiet rapid rare raw recent red regular remote rich rough round safe secondary sharp short silent simple single slow
small smart smooth soft solid southern special spare static steady stiff strong sunny sweet tall target tiny top
total typical upper urgent usual valid warm weekly western wet white whole wide wild yearly yellow young
""")

DEMO_WORDS: list[str] = _split("""
gas price spot hub day ahead factory auction month heating value convert energy volume unit pipeline flow storage
level site spread delivery days trading date offset transport cost file folder path read write append move delete
find text pattern list table database query row rows insert update column sql calculate expression mean median
standard deviation percent change round number values digits capacity tariff fill share result content name year
week hours rate amount key source target start end weekday quarter statistics files tables product line trades
norway algeria lng azerbaijan biogas monthly gate full both old new
""")

UNITS: list[str] = _split("""
EUR USD GBP kg g t km m cm mm miles hours minutes seconds days % kW MW MWh kWh GJ therm m3 bar litres pieces points
GB MB EUR/MWh EUR/kg km/h MWh/day kg/m3 GBP/therm
""")

CITIES: list[str] = _split("""
Berlin Paris London Madrid Rome Vienna Prague Warsaw Oslo Helsinki Lisbon Dublin Athens Zurich Geneva Milan Naples
Munich Hamburg Leipzig Bremen Lyon Nice Lille Ghent Bruges Porto Seville Krakow Riga Tallinn Vilnius Sofia Zagreb
Cairo Lagos Nairobi Tokyo Osaka Kyoto Seoul Delhi Mumbai Lima Quito Bogota Boston Denver Dallas Austin Seattle
Toronto Sydney Perth Auckland Rotterdam Antwerp Groningen Zeebrugge
""")

HUBS: list[str] = ["TTF", "NBP", "THE", "PEG", "PSV", "ZTP", "VTP", "PVB"]

PEOPLE: list[str] = _split("""
Anna Ben Clara David Elena Felix Greta Hugo Ida Jonas Karin Leo Maria Nils Olga Paul Quinn Rosa Simon Tara Uwe Vera
Walter Yusuf Zoe Amir Bianca Carlos Dina Emil Fatima Goran Hanna Ivan Julia Kenji Lina Marco Nadia Omar Priya Rafael
""")

COMPANIES: list[str] = _split("""
Northwind Bluepeak Solara Vertex Ironbridge Halcyon Redwood Quantix Lumina Orbis Granite Silverline Nordlicht
Bergmann Castell Delmar Everstone Fairway Gildan Harbourne Inova Juniper Kestrel Lakeside Meridian Novara
""")

MONTHS: list[str] = _split("""
January February March April May June July August September October November December
""")

WEEKDAYS: list[str] = _split("""
Monday Tuesday Wednesday Thursday Friday Saturday Sunday
""")

EXTENSIONS: list[str] = _split("""
txt csv md json log yaml pdf html py
""")

SYLLABLES: list[str] = _split("""
ba be bi bo da de di do fa fe fi fo ga ge go ka ke ki ko la le li lo lu ma me mi mo mu na ne ni no nu pa pe pi po ra
re ri ro ru sa se si so ta te ti to tu va ve vi vo za ze zi zo bra cre dra fle gri kla pla qui sta tri
""")

ENDINGS: list[str] = _split("""
n r s l t x nd rk st lm
""")

# Requests that no tool is needed for, with the answer.
SMALL_TALK: list[tuple[str, str]] = [
    ("Hello!", "Hello! How can I help you?"),
    ("Hi there.", "Hello! How can I help you?"),
    ("Good morning!", "Good morning! What can I do for you?"),
    ("Thank you.", "You are welcome."),
    ("Thanks, that helps.", "You are welcome."),
    ("Great, thanks a lot!", "You are welcome."),
    ("Who are you?", "I am a small assistant that works with tools."),
    ("What is your name?", "I am a small assistant that works with tools."),
    ("How are you?", "I am fine, thank you. What can I do for you?"),
    ("Are you a robot?", "I am a small assistant that works with tools."),
    ("Tell me a joke.", "I have no tool for that."),
    ("What should I have for lunch?", "I have no tool for that."),
    ("Is it wise to learn Latin?", "I have no tool for that."),
    ("Goodbye!", "Goodbye!"),
    ("See you tomorrow.", "Goodbye!"),
    ("That is all for today.", "Goodbye!"),
]

SYSTEM_TEXTS: list[str] = [
    "You are a helpful assistant.",
    "You help with tools.",
    "You are an assistant that calls tools when they are needed.",
    "Answer briefly.",
    "Use the tools to answer. If a value is missing, ask for it.",
    "You are a careful assistant. Never invent values.",
    "You work for an energy trading desk.",
    "Help the user with files, tables and prices.",
]
