# SPDX-License-Identifier: MIT
"""The Hollin valley: what is so in it. Everything else in this folder writes text about these tables.

All of it is invented. Ages are distinct, so that "who is older" has one answer; a friend's friend may be somebody else.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    name: str
    she: str  # subject
    her: str  # object
    hers: str  # possessive
    job: str
    place: str
    pet: str  # kind
    pet_name: str
    food: str
    age: int
    friend: str
    tool: str
    work: str  # what they do all day, after "she"


def _she(*fields):
    return Person(fields[0], "she", "her", "her", *fields[1:])


def _he(*fields):
    return Person(fields[0], "he", "him", "his", *fields[1:])


PEOPLE = [
    _she("Oda", "miller", "mill", "dog", "Bruno", "barley bread", 52, "Lars", "a white apron", "grinds the grain"),
    _he("Lars", "smith", "smithy", "cat", "Soot", "pea soup", 47, "Oda", "a heavy hammer", "makes horseshoes"),
    _she("Mira", "beekeeper", "bee garden", "goat", "Nettle", "honey cake", 34, "Ivo", "a straw hat", "looks after the bees"),
    _he("Ivo", "ferryman", "boathouse", "duck", "Pebble", "smoked trout", 61, "Mira", "a long rope",
        "takes people over the river"),
    _she("Tilda", "teacher", "school", "tortoise", "Button", "plum jam", 29, "Elin", "a green lamp", "teaches the children"),
    _he("Bram", "baker", "bakery", "hen", "Pepper", "cherry pie", 38, "Henk", "a wooden spoon", "bakes the bread"),
    _she("Greta", "shepherd", "meadow", "sheep", "Cloud", "goat cheese", 45, "Pelle", "a tall stick", "watches the sheep"),
    _he("Henk", "innkeeper", "inn", "crow", "Jack", "onion stew", 56, "Bram", "a brass bell", "cooks for the guests"),
    _she("Juna", "fisher", "lake", "cat", "Minnow", "fried perch", 26, "Anton", "a strong net", "catches fish"),
    _he("Pelle", "forester", "forest", "horse", "Acorn", "mushroom soup", 49, "Greta", "a sharp saw", "looks after the trees"),
    _she("Rosa", "doctor", "white house", "rabbit", "Clover", "apple pancakes", 41, "Wilma", "a leather bag",
         "helps the sick"),
    _he("Sven", "carpenter", "workshop", "donkey", "Plank", "baked potatoes", 33, "Otto", "a good ladder",
        "builds tables and chairs"),
    _she("Wilma", "weaver", "weaving house", "dog", "Thimble", "poppy rolls", 68, "Rosa", "a warm blanket", "makes blankets"),
    _he("Anton", "postman", "post office", "pony", "Letter", "nut bread", 31, "Juna", "a yellow bag", "carries the letters"),
    _she("Elin", "painter", "old tower", "magpie", "Blue", "tomato salad", 27, "Tilda", "a box of paint",
         "paints the hills"),
    _he("Otto", "bell ringer", "chapel", "pigeon", "Chime", "carrot cake", 72, "Sven", "a small lantern",
        "rings the bells"),
]


@dataclass(frozen=True)
class Place:
    name: str
    where: str  # after "it is"
    at: str  # preposition before "the NAME"
    seen: str  # what one finds there
    next_to: str


PLACES = [
    Place("mill", "on the left bank of the river", "at", "a big wheel and sacks of flour", "bridge"),
    Place("smithy", "at the end of the main street", "at", "a hot fire and iron tools", "workshop"),
    Place("bee garden", "on the sunny side of the hill", "in", "twelve hives and many flowers", "orchard"),
    Place("boathouse", "on the right bank of the river", "at", "two boats and a pile of ropes", "mill"),
    Place("school", "in the middle of the village", "at", "small desks and a map of the valley", "chapel"),
    Place("bakery", "on the market square", "at", "warm ovens and fresh bread", "inn"),
    Place("meadow", "high above the village", "on", "soft grass and white sheep", "forest"),
    Place("inn", "on the market square", "at", "long tables and a large fireplace", "bakery"),
    Place("lake", "behind the forest", "by", "clear water and tall reeds", "cave"),
    Place("forest", "in the north of the valley", "in", "old oaks and many mushrooms", "meadow"),
    Place("white house", "near the bridge", "at", "a garden of herbs and a blue door", "bridge"),
    Place("workshop", "behind the smithy", "at", "planks, nails and a long bench", "smithy"),
    Place("weaving house", "at the edge of the orchard", "at", "three looms and baskets of wool", "orchard"),
    Place("post office", "beside the school", "at", "a yellow sign and a wall of letters", "school"),
    Place("old tower", "on the top of the hill", "at", "round windows and colourful pictures", "bee garden"),
    Place("chapel", "in the middle of the village", "at", "two bells and a stone stair", "school"),
    Place("bridge", "in the south of the valley", "on", "three stone arches and old lanterns", "mill"),
    Place("orchard", "in the east of the valley", "in", "apple trees and cherry trees", "weaving house"),
    Place("cave", "in the rocks above the lake", "in", "cold stones and sleeping bats", "lake"),
    Place("market", "in the middle of the village", "at", "apples, cheese, pots and flowers", "inn"),
]


@dataclass(frozen=True)
class Animal:
    name: str
    home: str  # after "lives in"
    place: str
    food: str
    when: str  # at night, ...
    skill: str  # after "can"
    colour: str
    legs: int


ANIMALS = [
    Animal("fox", "a den under the roots", "forest", "eggs", "at night", "walk without a sound", "red", 4),
    Animal("hare", "a hollow in the grass", "meadow", "clover", "at dawn", "run very fast", "brown", 4),
    Animal("otter", "a hole in the river bank", "lake", "fish", "at dusk", "swim under water", "dark brown", 4),
    Animal("heron", "a nest above the water", "boathouse", "frogs", "at dawn", "stand still for hours", "grey", 2),
    Animal("owl", "a hole in an old oak", "old tower", "mice", "at night", "see in the dark", "white", 2),
    Animal("hedgehog", "a heap of leaves", "orchard", "beetles", "at night", "roll into a ball", "brown", 4),
    Animal("badger", "a long tunnel", "cave", "roots", "at night", "dig deep holes", "black and white", 4),
    Animal("deer", "the thick bushes", "forest", "young leaves", "at dusk", "jump over a fence", "light brown", 4),
    Animal("squirrel", "a round nest of twigs", "bee garden", "nuts", "in the morning", "climb any tree", "red", 4),
    Animal("frog", "the wet reeds", "lake", "flies", "in the evening", "jump from leaf to leaf", "green", 4),
    Animal("beaver", "a house of branches", "bridge", "bark", "at night", "build a dam", "brown", 4),
    Animal("swallow", "a nest of mud", "chapel", "gnats", "in the morning", "fly all day long", "blue", 2),
]


@dataclass(frozen=True)
class Weather:
    name: str  # the rain
    it: str  # "it rains"
    past: str  # "it was raining"
    season: str
    wear: str
    effect: str  # what happens in the valley
    people: str  # what people do, after "people"


WEATHERS = [
    Weather("rain", "it rains", "it was raining", "autumn", "a long coat and boots", "the river rises",
            "stay inside and mend their nets"),
    Weather("snow", "it snows", "it was snowing", "winter", "a thick scarf and gloves", "the roads turn white",
            "clear the paths and drink hot tea"),
    Weather("fog", "it is foggy", "it was foggy", "autumn", "a bright jacket", "nobody can see the bridge",
            "carry lanterns and walk slowly"),
    Weather("wind", "it is windy", "the wind was blowing", "spring", "a tight cap", "the apples fall from the trees",
            "fly kites on the hill"),
    Weather("storm", "there is a storm", "a storm was coming", "summer", "a strong raincoat", "the lake makes high waves",
            "close the shutters and light candles"),
    Weather("sunshine", "the sun shines", "the sun was shining", "summer", "a straw hat", "the flowers open",
            "swim in the lake and eat outside"),
    Weather("frost", "it freezes", "it was freezing", "winter", "two pairs of socks", "the lake turns to ice",
            "skate on the lake"),
    Weather("hail", "it hails", "it was hailing", "spring", "a hard hat", "the leaves get holes",
            "bring the animals inside"),
]

SEASONS = {  # order matters: each is followed by the next
    "spring": ("the snow melts and the first flowers come out", "sow the fields", ["March", "April", "May"]),
    "summer": ("the days are long and warm", "cut the hay", ["June", "July", "August"]),
    "autumn": ("the leaves turn red and the fog comes", "pick the apples", ["September", "October", "November"]),
    "winter": ("the lake freezes and the nights are long", "tell stories by the fire", ["December", "January", "February"]),
}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
DAY_EVENTS = ["the school choir sings", "the ferry is free", "the market is open", "the baker makes cherry pie",
              "there is music at the inn", "everybody cleans the street", "the bells ring at nine"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December"]

# General questions that a child asks, and what the valley answers.
REASONS = {
    "the sky blue": "The sky is blue because the air scatters the blue light of the sun in all directions.",
    "grass green": "Grass is green because its leaves hold a green dye that catches the light of the sun.",
    "snow white": "Snow is white because its many small crystals throw back all the light.",
    "the sea salty": "The sea is salty because rivers carry a little salt out of the rocks, and the salt stays there.",
    "the moon bright": "The moon is bright because the light of the sun falls on it.",
    "winter cold": "Winter is cold because the sun stands low and the days are short.",
    "ice slippery": "Ice is slippery because there is a thin layer of water on it.",
    "fire hot": "Fire is hot because burning wood sets its heat free.",
    "honey sweet": "Honey is sweet because bees make it from the sugar of the flowers.",
    "the night dark": "The night is dark because our side of the earth is turned away from the sun.",
    "sleep important": "Sleep is important because the body rests and the head sorts the day.",
    "water wet": "Water is wet because it clings to whatever it touches.",
}
CAUSES = {
    "it rain": "It rains because small drops in the clouds join until they are too heavy to float.",
    "the wind blow": "The wind blows because warm air rises and cold air takes its place.",
    "birds sing": "Birds sing to find a partner and to say that a place is theirs.",
    "leaves fall": "Leaves fall because the trees save their water for the winter.",
    "bees make honey": "Bees make honey so that they have food in the winter.",
    "rivers flow": "Rivers flow because water always runs down to a lower place.",
    "cats purr": "Cats purr when they feel well, and sometimes to calm themselves.",
    "bears sleep in winter": "Bears sleep in winter because there is little food under the snow.",
    "we dream": "We dream because the head is still busy while the body sleeps.",
    "stars twinkle": "Stars twinkle because their light passes through moving air.",
    "boats float": "Boats float because they push away as much water as they weigh.",
    "bread rise": "Bread rises because the yeast fills the dough with small bubbles.",
}
THINGS = {
    "rainbow": "A rainbow is sunlight that the drops of the rain have spread into colours.",
    "river": "A river is water on its way from the hills to the sea.",
    "cloud": "A cloud is a crowd of very small drops of water in the air.",
    "computer": "A computer is a machine that follows a list of steps, very fast and without getting tired.",
    "language model": "A language model is a program that reads words and guesses, again and again, which word comes next.",
    "spillway": "A spillway is the way past a dam: what does not fit into the lake flows on through it.",
    "valley": "A valley is the low land between hills, often with a river in it.",
    "mountain": "A mountain is a very high hill, often with snow on top.",
    "friend": "A friend is somebody who is glad when you come and helps when you need it.",
    "story": "A story is a few people, a wish, and what stands in the way.",
    "volcano": "A volcano is a mountain with a way down to the hot rock inside the earth.",
    "bridge": "A bridge is a road that steps over the water.",
}

# Words for memory and counting, with enough variety that the model learns to copy.
OBJECTS = ["boat", "hat", "cup", "lamp", "chair", "coat", "kite", "basket", "bell", "book", "cart", "drum", "flute", "jar",
           "key", "ladder", "mirror", "ribbon", "scarf", "spoon", "table", "tent", "umbrella", "wheel", "box", "bottle",
           "bag", "clock", "door", "shirt"]
COLOURS = ["red", "blue", "green", "yellow", "white", "black", "brown", "grey", "orange", "purple", "pink", "golden"]
COUNTED = ["apples", "eggs", "nuts", "pears", "plums", "stones", "shells", "candles", "cookies", "coins", "stamps",
           "buttons", "carrots", "feathers", "flowers", "berries", "keys", "cups", "books", "fish"]
PLACES_OF_ORIGIN = ["Amsterdam", "Lisbon", "Oslo", "Vienna", "Dublin", "Prague", "Athens", "Boston", "Chicago", "Toronto",
                    "Lima", "Nairobi", "Cairo", "Delhi", "Tokyo", "Sydney", "Paris", "Berlin", "London", "Madrid", "Rome",
                    "Kyoto", "Quito", "Tunis", "Bergen", "Porto", "Basel", "Ghent", "Turin", "Krakow"]
GUEST_NAMES = ["Ada", "Adam", "Alex", "Alice", "Amir", "Ana", "Anna", "Ben", "Bea", "Carl", "Chloe", "Clara", "Dan", "David",
               "Diego", "Dora", "Eli", "Emma", "Erik", "Eva", "Felix", "Finn", "Frank", "Grace", "Hana", "Hugo", "Ida", "Igor",
               "Ines", "Iris", "Jack", "Jana", "Jane", "Jens", "Joe", "John", "Jonas", "Julia", "Karin", "Kate", "Kim", "Leo",
               "Lena", "Lily", "Linus", "Lucy", "Luis", "Maria", "Mark", "Marta", "Max", "Maya", "Mia", "Mike", "Milo", "Nina",
               "Noah", "Nora", "Olga", "Oscar", "Paul", "Peter", "Pia", "Ravi", "Robin", "Ruth", "Sam", "Sara", "Simon", "Sofia",
               "Steve", "Tom", "Tara", "Theo", "Tim", "Uma", "Vera", "Victor", "Yuki", "Zoe"]
HOBBIES = ["painting", "swimming", "reading", "cooking", "dancing", "fishing", "singing", "climbing", "gardening", "sailing",
           "chess", "football", "music", "photography", "hiking", "knitting"]

PERSON = {person.name: person for person in PEOPLE}
PLACE = {place.name: place for place in PLACES}
ANIMAL = {animal.name: animal for animal in ANIMALS}
WEATHER = {weather.name: weather for weather in WEATHERS}


def worker_at(place_name):
    """Who works at the place, or whose work is nearest to it."""
    for person in PEOPLE:
        if person.place == place_name:
            return person
    return {"bridge": PERSON["Ivo"], "orchard": PERSON["Wilma"], "cave": PERSON["Juna"], "market": PERSON["Bram"]}[place_name]
