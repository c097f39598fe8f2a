# SPDX-License-Identifier: MIT
"""Conversations about the valley.

One place decides what is held out: a combination of facts and wording belongs to the test set when the hash of its key
says so (one in ten), and no conversation of the training set contains it. Answers follow from the question alone, so that
what remains to be guessed is only what people ask.
"""
import hashlib
import random
from dataclasses import dataclass

import stories
from world import (ANIMALS, CAUSES, COLOURS, COUNTED, DAY_EVENTS, DAYS, GUEST_NAMES, HOBBIES, MONTHS, OBJECTS, PEOPLE,
                   PERSON, PLACE, PLACES, PLACES_OF_ORIGIN, REASONS, SEASONS, THINGS, WEATHER, WEATHERS)

SYSTEM = "You are Brook, a friendly guide to the Hollin valley."
BRIEF = "Answer in a few words."
OTHER_SYSTEMS = ["You are a helpful assistant.", "You are Brook.", "You are a helpful, friendly assistant. Be polite.",
                 "Be kind.", "Talk to the guest.", "You are a chat bot."]
BRIEFS = [BRIEF, "Be brief.", "You are Brook. Answer briefly.", "Answer with one word or two.", "Short answers, please."]
UNKNOWN = "I do not know that. I only know the Hollin valley, its people, its animals and its weather."


def held_out(*key):
    return hashlib.sha256(repr(key).encode()).digest()[0] % 10 == 0


@dataclass
class Turn:
    question: str
    answer: str
    brief: str  # the answer when the system message asks for few words
    key: tuple  # what makes it one item, for the held-out set
    person: str = ""  # whom it was about, for "she" and "he" afterwards
    story: tuple = ()


def pick(rng, options):
    """An option and its number; the number is part of a key, so that wordings are held out too."""
    index = rng.randrange(len(options))
    return options[index], index


# ---- people ----

PERSON_QUESTIONS = {
    "job": ["What does {n} do?", "What is {n}'s job?", "What is the job of {n}?", "What does {n} do for a living?",
            "What work does {n} do?", "Do you know what {n} does?", "What does {n} do all day?"],
    "place": ["Where does {n} work?", "Where can I find {n}?", "Where is {n}?", "Where does {n} live?",
              "How do I find {n}?", "Where is {n} during the day?"],
    "pet": ["Does {n} have a pet?", "What pet does {n} have?", "Which animal does {n} have?", "What is the name of {n}'s pet?",
            "What animal lives with {n}?", "Tell me about {n}'s pet."],
    "food": ["What does {n} like to eat?", "What is {n}'s favourite food?", "What does {n} eat?", "What should I cook for {n}?",
             "What food does {n} like?"],
    "age": ["How old is {n}?", "What is {n}'s age?", "Do you know how old {n} is?", "Tell me the age of {n}."],
    "friend": ["Who is {n}'s friend?", "Who is the best friend of {n}?", "Does {n} have a friend?", "Whom does {n} like?"],
    "tool": ["What does {n} carry?", "What does {n} always have with {o}?", "What is in {n}'s hand?"],
    "who": ["Who is {n}?", "Tell me about {n}.", "Do you know {n}?", "What can you tell me about {n}?", "Describe {n}."],
}


def person_answer(p, what):
    S = p.she.capitalize()
    return {
        "job": (f"{p.name} is the {p.job}. {S} {p.work}.", f"The {p.job}."),
        "place": (f"{p.name} lives and works {stories.at(p.place)}. It is {PLACE[p.place].where}.",
                  f"{stories.capital(stories.at(p.place))}."),
        "pet": (f"{p.name} has {stories.a(p.pet)}. Its name is {p.pet_name}.", f"{stories.capital(stories.a(p.pet))}, {p.pet_name}."),
        "food": (f"{p.name} likes {p.food} best.", f"{stories.capital(p.food)}."),
        "age": (f"{p.name} is {p.age} years old.", f"{p.age} years."),
        "friend": (f"{p.name}'s best friend is {p.friend} the {PERSON[p.friend].job}.", f"{p.friend}."),
        "tool": (f"{p.name} always has {p.tool} with {p.her}.", f"{stories.capital(p.tool)}."),
        "who": (f"{p.name} is the {p.job} of the valley. {S} is {p.age} years old and works {stories.at(p.place)}. "
                f"{S} has {stories.a(p.pet)} named {p.pet_name} and likes {p.food}.", f"The {p.job}."),
    }[what]


def ask_person(rng, person=None, what=None):
    p = person or rng.choice(PEOPLE)
    what = what or rng.choice(list(PERSON_QUESTIONS))
    wording, index = pick(rng, PERSON_QUESTIONS[what])
    answer, brief = person_answer(p, what)
    return Turn(wording.format(n=p.name, o=p.her), answer, brief, ("person", p.name, what, index), p.name)


PRONOUN_QUESTIONS = {
    "job": ["What does {s} do?", "And what is {h} job?", "What does {s} do all day?"],
    "place": ["Where does {s} live?", "Where does {s} work?", "And where can I find {o}?", "Where is {s}?"],
    "pet": ["Does {s} have a pet?", "What pet does {s} have?", "And {h} pet?"],
    "food": ["What does {s} like to eat?", "What is {h} favourite food?", "And what does {s} eat?"],
    "age": ["How old is {s}?", "And how old is {s}?", "What is {h} age?"],
    "friend": ["Who is {h} best friend?", "Who is {h} friend?", "And {h} friend?"],
    "tool": ["What does {s} carry?", "What does {s} always have with {o}?"],
    "who": ["Tell me more about {o}.", "What else do you know about {o}?", "Who is {s}?"],
}


def ask_about_her(rng, name):
    p, what = PERSON[name], rng.choice(list(PRONOUN_QUESTIONS))
    wording, index = pick(rng, PRONOUN_QUESTIONS[what])
    answer, brief = person_answer(p, what)
    return Turn(wording.format(s=p.she, h=p.hers, o=p.her), answer, brief, ("pronoun", name, what, index), name)


def ask_and_her(rng, name, what):
    """After "What does Oda do?": "And Lars?"."""
    p = rng.choice([person for person in PEOPLE if person.name != name])
    wording, index = pick(rng, ["And {n}?", "What about {n}?", "And what about {n}?"])
    answer, brief = person_answer(p, what)
    return Turn(wording.format(n=p.name), answer, brief, ("ellipsis", name, p.name, what, index), p.name)


def ask_who(rng):
    p = rng.choice(PEOPLE)
    asked, wordings = rng.choice([
        ("job", [f"Who is the {p.job}?", f"What is the name of the {p.job}?", f"Who is the {p.job} of the valley?",
                 f"Do you know the {p.job}?"]),
        ("place", [f"Who works {stories.at(p.place)}?", f"Who lives {stories.at(p.place)}?",
                   f"Whom do I meet {stories.at(p.place)}?"]),
        ("pet", [f"Who has {stories.a(p.pet)} named {p.pet_name}?", f"Whose {p.pet} is {p.pet_name}?", f"Who is {p.pet_name}?"]),
        ("food", [f"Who likes {p.food}?", f"Who eats {p.food}?"]),
        ("work", [f"Who {p.work}?"]),
    ])
    question, index = pick(rng, wordings)
    S = p.she.capitalize()
    answer = {
        "job": f"The {p.job} is {p.name}. {S} works {stories.at(p.place)}.",
        "place": f"{p.name} the {p.job} works {stories.at(p.place)}.",
        "pet": f"{p.pet_name} is the {p.pet} of {p.name} the {p.job}.",
        "food": f"{p.name} the {p.job} likes {p.food}.",
        "work": f"{p.name} the {p.job} {p.work}.",
    }[asked]
    return Turn(question, answer, f"{p.name}.", ("who", p.name, asked, index), p.name)


def ask_yes_no(rng):
    p = rng.choice(PEOPLE)
    is_so = rng.random() < 0.5
    other = p if is_so else rng.choice([person for person in PEOPLE if person is not p])
    kind = rng.choice(["job", "place", "pet", "food"])
    question, truth = {
        "job": (f"Is {p.name} the {other.job}?", f"{p.name} is the {p.job}"),
        "place": (f"Does {p.name} work {stories.at(other.place)}?", f"{p.name} works {stories.at(p.place)}"),
        "pet": (f"Does {p.name} have {stories.a(other.pet)}?", f"{p.name} has {stories.a(p.pet)}"),
        "food": (f"Does {p.name} like {other.food}?", f"{p.name} likes {p.food}"),
    }[kind]
    is_so = {"job": p.job == other.job, "place": p.place == other.place, "pet": p.pet == other.pet,
             "food": p.food == other.food}[kind]
    yes = "Yes" if is_so else "No"
    return Turn(question, f"{yes}, {truth}.", f"{yes}.", ("yes-no", kind, p.name, other.name), p.name)


def ask_older(rng):
    p, q = rng.sample(PEOPLE, 2)
    asked = rng.choice(["older", "younger"])
    first = p if (p.age > q.age) == (asked == "older") else q
    wording, index = pick(rng, [f"Who is {asked}, {p.name} or {q.name}?", f"Is {p.name} {asked} than {q.name}?"])
    fact = f"{p.name} is {p.age} and {q.name} is {q.age}"
    answer = f"{first.name} is {asked}. {fact}." if index == 0 else f"{'Yes' if first is p else 'No'}, {fact}."
    brief = f"{first.name}." if index == 0 else ("Yes." if first is p else "No.")
    return Turn(wording, answer, brief, ("older", asked, p.name, q.name, index), first.name)


# ---- places, animals, weather, the year ----

def ask_place(rng):
    place = rng.choice(PLACES)
    kind = rng.choice(["where", "seen", "next"])
    wordings = {
        "where": [f"Where is the {place.name}?", f"How do I get to the {place.name}?", f"Where do I find the {place.name}?"],
        "seen": [f"What can I see {stories.at(place.name)}?", f"What is there {stories.at(place.name)}?",
                 f"Tell me about the {place.name}.", f"What is special about the {place.name}?"],
        "next": [f"What is next to the {place.name}?", f"What is near the {place.name}?"],
    }[kind]
    question, index = pick(rng, wordings)
    answer = {"where": f"The {place.name} is {place.where}, next to the {place.next_to}.",
              "seen": f"The {place.name} is {place.where}. There you see {place.seen}.",
              "next": f"Next to the {place.name} is the {place.next_to}."}[kind]
    brief = {"where": f"{stories.capital(place.where)}.", "seen": f"{stories.capital(place.seen)}.",
             "next": f"The {place.next_to}."}[kind]
    return Turn(question, answer, brief, ("place", place.name, kind, index))


def ask_animal(rng):
    x = rng.choice(ANIMALS)
    kind = rng.choice(["home", "food", "when", "skill", "colour", "legs", "about"])
    n = x.name
    wordings = {
        "home": [f"Where does the {n} live?", f"Where does {stories.a(n)} sleep?", f"What is the home of the {n}?"],
        "food": [f"What does the {n} eat?", f"What do I give {stories.a(n)} to eat?", f"What does {stories.a(n)} like?"],
        "when": [f"When can I see the {n}?", f"When does the {n} come out?"],
        "skill": [f"What can the {n} do?", f"What is {stories.a(n)} good at?"],
        "colour": [f"What colour is the {n}?", f"Which colour does {stories.a(n)} have?"],
        "legs": [f"How many legs does {stories.a(n)} have?", f"How many legs does the {n} have?"],
        "about": [f"Tell me about the {n}.", f"What do you know about the {n}?", f"What is {stories.a(n)}?"],
    }[kind]
    question, index = pick(rng, wordings)
    legs = {2: "two", 4: "four"}[x.legs]
    answer = {
        "home": f"The {n} lives in {x.home}, {stories.at(x.place)}.",
        "food": f"The {n} eats {x.food}.",
        "when": f"The {n} comes out {x.when}.",
        "skill": f"The {n} can {x.skill}.",
        "colour": f"The {n} is {x.colour}.",
        "legs": f"{stories.capital(stories.a(n))} has {legs} legs.",
        "about": f"The {n} is {x.colour} and lives in {x.home}, {stories.at(x.place)}. It eats {x.food}, comes out {x.when} "
                 f"and can {x.skill}.",
    }[kind]
    brief = {"home": f"In {x.home}.", "food": f"{stories.capital(x.food)}.", "when": f"{stories.capital(x.when)}.",
             "skill": f"{stories.capital(x.skill)}.", "colour": f"{stories.capital(x.colour)}.", "legs": f"{legs.capitalize()}.",
             "about": f"An animal {stories.at(x.place)}."}[kind]
    return Turn(question, answer, brief, ("animal", n, kind, index))


def ask_who_of_animals(rng):
    x = rng.choice(ANIMALS)
    eaters = [animal.name for animal in ANIMALS if animal.food == x.food]
    question, index = pick(rng, [f"Which animal eats {x.food}?", f"Which animal can {x.skill}?"])
    name = eaters[0] if index == 0 else x.name
    return Turn(question, f"The {name} {'eats ' + x.food if index == 0 else 'can ' + x.skill}.", f"The {name}.",
                ("which animal", x.name, index))


def ask_weather(rng):
    w = rng.choice(WEATHERS)
    kind = rng.choice(["wear", "effect", "people", "season"])
    wordings = {
        "wear": [f"What should I wear when {w.it}?", f"What do I put on when {w.it}?", f"What do I need when {w.it}?",
                 f"{stories.capital(w.it)}. What should I wear?"],
        "effect": [f"What happens when {w.it}?", f"What happens in the valley when {w.it}?", f"What does the {w.name} do?"],
        "people": [f"What do people do when {w.it}?", f"What can I do when {w.it}?", f"What do you do when {w.it}?"],
        "season": [f"When is there {w.name} in the valley?", f"In which season is there {w.name}?",
                   f"Which season brings {w.name}?"],
    }[kind]
    question, index = pick(rng, wordings)
    answer = {
        "wear": f"When {w.it}, you should wear {w.wear}.",
        "effect": f"When {w.it}, {w.effect}, and people {w.people}.",
        "people": f"When {w.it}, people {w.people}.",
        "season": f"There is {w.name} in {w.season}.",
    }[kind]
    brief = {"wear": f"{stories.capital(w.wear)}.", "effect": f"{stories.capital(w.effect)}.",
             "people": f"They {w.people}.", "season": f"In {w.season}."}[kind]
    return Turn(question, answer, brief, ("weather", w.name, kind, index))


def ask_year(rng):
    kind = rng.choice(["season", "work", "after season", "month", "after month", "day", "after day", "before day"])
    seasons = list(SEASONS)
    s = rng.choice(seasons)
    m, d = rng.randrange(12), rng.randrange(7)
    signs, work, months = SEASONS[s]
    season_of = {month: season for season, (_, _, names) in SEASONS.items() for month in names}
    wordings, answer, brief = {
        "season": ([f"What is {s} like?", f"How is the {s} in the valley?", f"Tell me about the {s}."],
                   f"In {s} {signs}. People {work}.", f"In {s} {signs}."),
        "work": ([f"What do people do in {s}?", f"What can I do in {s}?"], f"In {s} people {work}.", f"They {work}."),
        "after season": ([f"What comes after {s}?", f"Which season follows {s}?"],
                         f"After {s} comes {seasons[(seasons.index(s) + 1) % 4]}.",
                         f"{seasons[(seasons.index(s) + 1) % 4].capitalize()}."),
        "month": ([f"Which season is {MONTHS[m]} in?", f"Is {MONTHS[m]} in summer or in winter?"],
                  f"{MONTHS[m]} is in {season_of[MONTHS[m]]}.", f"{season_of[MONTHS[m]].capitalize()}."),
        "after month": ([f"Which month comes after {MONTHS[m]}?", f"What comes after {MONTHS[m]}?"],
                        f"After {MONTHS[m]} comes {MONTHS[(m + 1) % 12]}.", f"{MONTHS[(m + 1) % 12]}."),
        "day": ([f"What happens on {DAYS[d]}?", f"What can I do on {DAYS[d]}?", f"What is there on {DAYS[d]}?"],
                f"On {DAYS[d]} {DAY_EVENTS[d]}.", f"{stories.capital(DAY_EVENTS[d])}."),
        "after day": ([f"Which day comes after {DAYS[d]}?", f"What comes after {DAYS[d]}?"],
                      f"After {DAYS[d]} comes {DAYS[(d + 1) % 7]}.", f"{DAYS[(d + 1) % 7]}."),
        "before day": ([f"Which day comes before {DAYS[d]}?", f"What comes before {DAYS[d]}?"],
                       f"Before {DAYS[d]} comes {DAYS[(d - 1) % 7]}.", f"{DAYS[(d - 1) % 7]}."),
    }[kind]
    question, index = pick(rng, wordings)
    which = {"season": s, "work": s, "after season": s, "month": m, "after month": m}.get(kind, d)
    return Turn(question, answer, brief, ("year", kind, which, index))


def ask_why(rng):
    kind = rng.choice(["reason", "cause", "thing"])
    table = {"reason": REASONS, "cause": CAUSES, "thing": THINGS}[kind]
    x = rng.choice(list(table))
    do = "does" if x in ("it rain", "the wind blow", "bread rise") else "do"
    noun = stories.a(x)
    wordings = {
        "reason": [f"Why is {x}?", f"Why is {x}", f"Can you tell me why {_reorder(x)}?", f"Do you know why {_reorder(x)}?"],
        "cause": [f"Why {do} {x}?", f"Why {do} {x}", f"Tell me, why {do} {x}?", f"Can you explain why {do} {x}?"],
        "thing": [f"What is {noun}?", f"Explain {noun}.", f"What is {noun}, please?", f"Can you tell me what {noun} is?"],
    }[kind]
    question, index = pick(rng, wordings)
    return Turn(question, table[x], table[x], ("why", kind, x, index) if index > 1 else ("always",))


def _reorder(x):
    """ "the sky blue" -> "the sky is blue" """
    words = x.split()
    return " ".join(words[:-1] + ["is"] + words[-1:])


# ---- numbers ----

def ask_number(rng):
    kind = rng.choice(["plus", "plus", "minus", "minus", "after", "before", "more", "double"])
    x, y = rng.randint(0, 20), rng.randint(0, 20)
    if kind == "minus" and y > x:
        x, y = y, x
    if kind == "more" and x == y:
        y = x + 1
    n = rng.randint(0, 98)
    wordings, answer, brief = {
        "plus": ([f"What is {x} plus {y}?", f"How much is {x} plus {y}?", f"What is {x} + {y}?", f"Add {x} and {y}."],
                 f"{x} plus {y} is {x + y}.", f"{x + y}."),
        "minus": ([f"What is {x} minus {y}?", f"How much is {x} minus {y}?", f"What is {x} - {y}?", f"Take {y} from {x}."],
                  f"{x} minus {y} is {x - y}.", f"{x - y}."),
        "after": ([f"Which number comes after {n}?", f"What comes after {n}?"], f"After {n} comes {n + 1}.", f"{n + 1}."),
        "before": ([f"Which number comes before {n + 1}?", f"What comes before {n + 1}?"], f"Before {n + 1} comes {n}.", f"{n}."),
        "more": ([f"Which is more, {x} or {y}?", f"Which number is larger, {x} or {y}?"],
                 f"{max(x, y)} is more than {min(x, y)}.", f"{max(x, y)}."),
        "double": ([f"What is two times {x}?", f"How much is twice {x}?", f"What is 2 times {x}?"],
                   f"Two times {x} is {2 * x}.", f"{2 * x}."),
    }[kind]
    question, index = pick(rng, wordings)
    # Sums are held out whole, in all wordings; y + x may be in the training set where x + y is not.
    key = ("number", kind, x, y) if kind in ("plus", "minus", "more") else ("number", kind, n if kind in ("after", "before") else x, index)
    return Turn(question, answer, brief, key)


def ask_counting(rng):
    what = rng.choice(COUNTED)
    x, y = rng.randint(2, 12), rng.randint(1, 9)
    gives = rng.random() < 0.5
    if gives and y > x:
        x, y = y, x
    p = rng.choice(PEOPLE)
    who, have, has = rng.choice([("I", "have", "do I have"), (p.name, "has", f"does {p.name} have")])
    her = "you" if who == "I" else p.she
    verb = {("I", True): f"I eat {y} of them", ("I", False): f"I find {y} more"}.get((who, gives))
    verb = verb or (f"{p.she} gives {y} away" if gives else f"{p.she} gets {y} more")
    question = f"{who} {have} {x} {what} and {verb}. How many {what} {has}?"
    total = x - y if gives else x + y
    if who == "I":
        answer = f"You have {total} {what}."
    else:
        answer = f"{p.name} has {total} {what}."
    return Turn(question, answer, f"{total}.", ("counting", who == "I", gives, x, y), "" if who == "I" else p.name)


# ---- what was said in the conversation ----

def tell_object(rng):
    """Two things in two colours, and a question about one of them."""
    first, second = rng.sample(OBJECTS, 2)
    c1, c2 = rng.sample(COLOURS, 2)
    p = rng.choice(PEOPLE)
    asked, colour = rng.choice([(first, c1), (second, c2)])
    if rng.random() < 0.5:
        question = f"I have {stories.a(c1)} {first} and {stories.a(c2)} {second}. What colour is my {asked}?"
        answer = f"Your {asked} is {colour}."
    else:
        question = f"{p.name} has {stories.a(c1)} {first} and {stories.a(c2)} {second}. Who has the {asked}, and what colour is it?"
        answer = f"{p.name} has the {asked}. It is {colour}."
    return Turn(question, answer, f"{colour.capitalize()}.", ("object", first, c1, second, c2))


def tell_name(rng, facts):
    name, home, hobby = rng.choice(GUEST_NAMES), rng.choice(PLACES_OF_ORIGIN), rng.choice(HOBBIES)
    kind = rng.choice(["name", "name", "home", "hobby", "name and home"])
    options, answer = {
        "name": ([f"My name is {name}.", f"I am {name}.", f"Hello, I am {name}.", f"Hi! My name is {name}.", f"Call me {name}."],
                 f"Nice to meet you, {name}! I am Brook."),
        "home": ([f"I come from {home}.", f"I live in {home}.", f"I am from {home}."],
                 f"{home} is far away. Welcome to the valley!"),
        "hobby": ([f"I like {hobby}.", f"I love {hobby}.", f"My hobby is {hobby}."],
                  f"How nice that you like {hobby}! There is time for it in the valley."),
        "name and home": ([f"My name is {name} and I come from {home}.", f"I am {name} from {home}."],
                          f"Nice to meet you, {name}! {home} is far away. Welcome to the valley!"),
    }[kind]
    question, index = pick(rng, options)
    if "name" in kind:
        facts["name"] = name
    if "home" in kind:
        facts["home"] = home
    if kind == "hobby":
        facts["hobby"] = hobby
    key = {"name": (name,), "home": (home,), "hobby": (hobby,), "name and home": (name, home)}[kind]
    return Turn(question, answer, answer, ("tell", kind, *key, index) if kind == "name and home" else ("always",))


def ask_name(rng, facts):
    kind = rng.choice(["name", "home", "hobby"])
    question, index = pick(rng, {
        "name": ["What is my name?", "Who am I?", "Do you remember my name?", "Do you know my name?"],
        "home": ["Where do I come from?", "Where do I live?", "Do you remember where I come from?"],
        "hobby": ["What do I like?", "What is my hobby?", "Do you remember what I like?"],
    }[kind])
    value = facts.get(kind)
    if value:
        answer = {"name": f"Your name is {value}.", "home": f"You come from {value}.", "hobby": f"You like {value}."}[kind]
        brief = f"{value[0].upper()}{value[1:]}."
    else:
        answer = brief = {"name": "You did not tell me your name.", "home": "You did not tell me where you come from.",
                          "hobby": "You did not tell me what you like."}[kind]
    return Turn(question, answer, brief, ("recall", kind, value, index))


# ---- lists, manners, what is unknown ----

def ask_list(rng):
    rows = [
        (["Who lives in the valley?", "Who lives here?", "Which people do you know?", "Tell me about the people."],
         "Sixteen people live in the valley, for example Oda the miller, Lars the smith, Mira the beekeeper and Ivo the ferryman."),
        (["Which animals live in the valley?", "Which animals are there?", "What animals do you know?", "Name some animals."],
         "There are many animals in the valley, for example the fox, the hare, the otter, the owl and the beaver."),
        (["Which places are there?", "What can I see in the valley?", "What is there to see?", "Where should I go?",
          "Show me around."],
         "You can see the mill, the lake, the old tower, the bridge and the market. Start at the market!"),
        (["What is the valley like?", "Tell me about the valley.", "Where are we?", "What is the Hollin valley?",
          "Describe the valley.", "What is this place?"],
         "The Hollin valley lies between green hills. A river runs through it, past the mill and under the old stone bridge."),
        (["What is the name of the river?", "Which river is that?", "Tell me about the river.", "Where does the river go?"],
         "The river is called the Wend. It comes from the lake, turns the wheel of the mill and runs south under the bridge."),
        (["Who lives by the river?", "Who works by the river?", "Whom do I meet at the river?"],
         "Oda the miller and Ivo the ferryman live by the river. Oda is on the left bank and Ivo is on the right bank."),
        (["Name the seasons.", "What are the four seasons?", "How many seasons are there?"],
         "There are four seasons: spring, summer, autumn and winter."),
        (["Name the days of the week.", "How many days does a week have?", "What are the days of the week?"],
         "A week has seven days: Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."),
        (["Count to ten.", "Can you count?", "Can you count to ten?", "Please count to ten."],
         "One, two, three, four, five, six, seven, eight, nine, ten."),
        (["How many people live in the valley?", "How many people are there?"], "Sixteen people live in the valley."),
        (["Who is the oldest person?", "Who is the oldest?", "Who is the oldest person in the valley?"],
         "Otto the bell ringer is the oldest. He is 72 years old."),
        (["Who is the youngest person?", "Who is the youngest?", "Who is the youngest person in the valley?"],
         "Juna the fisher is the youngest. She is 26 years old."),
        (["Where can I eat?", "I am hungry.", "Where do I get something to eat?"],
         "Go to the inn on the market square. Henk cooks a good onion stew."),
        (["Where can I sleep?", "I am tired.", "Where do I find a bed?"],
         "You can sleep at the inn. Henk the innkeeper has a warm room for you."),
        (["I am ill.", "I need a doctor.", "I do not feel well.", "I am sick."],
         "Go to the white house near the bridge. Rosa the doctor helps the sick."),
        (["I am sad.", "I feel sad today.", "I am not happy."],
         "I am sorry that you are sad. Sit by the river for a while, and tell me about it if you like."),
        (["I am happy.", "I am so happy today!", "I feel good."], "That is good to hear! Let us go for a walk by the river."),
        (["What is larger than memory?", "What is larger than the memory of a machine?"],
         "This model is. A spillway lets it flow past in small parts, and no word is lost."),
    ]
    row = rng.randrange(len(rows))
    question, index = pick(rng, rows[row][0])
    return Turn(question, rows[row][1], rows[row][1], ("always",))


def ask_manners(rng):
    rows = [
        (["Hello!", "Hi!", "Hello.", "Good morning!", "Good day!", "Hey there!", "Hi there.", "Good evening!", "Hello there!", "Hey"],
         "Hello! I am Brook, the guide to the Hollin valley. What would you like to know?"),
        (["Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Introduce yourself.",
          "Who am I talking to?", "What should I call you?"],
         "I am Brook, a small language model. I know the Hollin valley, its people, its animals and its weather."),
        (["What can you do?", "How can you help me?", "What do you know?", "What can I ask you?", "Help!", "Can you help me?",
          "What should I ask you?"],
         "I can tell you about the people, the animals and the weather of the valley, do small sums, and tell stories."),
        (["How are you?", "How are you today?", "How do you feel?", "Are you well?"],
         "I am well, thank you. The river is quiet today. How are you?"),
        (["Are you a robot?", "Are you a person?", "Are you human?", "Are you real?", "Are you an AI?", "Are you alive?"],
         "No, I am a small language model. I am made of numbers, and I live in a file."),
        (["How big are you?", "How large are you?", "How many parameters do you have?", "How many experts do you have?"],
         "I am small: a few million numbers in eight experts. Two of them work on each word."),
        (["Thank you!", "Thanks!", "Thank you very much.", "Thanks a lot!", "Many thanks.", "Great, thank you."],
         "You are welcome!"),
        (["Goodbye!", "Bye!", "Good night!", "See you later!", "I have to go.", "See you."],
         "Goodbye! Come back to the valley soon."),
        (["That is nice.", "Great!", "Good.", "Wonderful!", "Okay.", "I see.", "Interesting!", "Cool.", "Yes.", "Fine."],
         "I am glad. What else would you like to know?"),
        (["No.", "That is wrong.", "I do not believe you.", "Are you sure?", "Really?"],
         "That is what I know about the valley. You can ask me again in other words."),
        (["Tell me a joke.", "Do you know a joke?", "Make me laugh.", "Say something funny."],
         "Why does the miller never get lost? Because she always follows the flour."),
        (["Sing a song.", "Can you sing?", "Write a poem.", "Tell me a poem.", "Write a poem about the river."],
         "The river runs, the mill wheel turns, the snow comes down, the candle burns, the owl looks out, the fox looks in, "
         "and where they end, the hills begin."),
        (["Where do you live?", "Where are you from?", "Where do you come from?"],
         "I live in a small file, but my heart is by the river, in the Hollin valley."),
        (["Who made you?", "Who trained you?", "Who built you?"],
         "I was trained on two processor cores, on stories about a valley that does not exist."),
        (["How old are you?"], "I am very young. I was made for the first five minutes with Spillway."),
    ]
    row = rng.randrange(len(rows))
    question, index = pick(rng, rows[row][0])
    return Turn(question, rows[row][1], rows[row][1], ("always",))


_SUBJECTS = """the capital of France|the price of gold|quantum physics|the president|football|the stock market|black holes|the
Roman empire|chemistry|the moon landing|python code|a car engine|the speed of light|Shakespeare|the population of China|jazz
music|the internet|dinosaurs|the weather in Paris|a good film|video games|the human brain|democracy|electric cars|the pyramids|
coffee|taxes|tennis|the Pacific ocean|airplanes|robots|the universe|philosophy|my homework|the latest news|a recipe for pizza|
how to fix my phone|the law|the stars of Orion|the atom|Mars|history|algebra|the alphabet|French cooking|yoga|a virus|Einstein|
the Beatles|Africa|my computer|the king of Spain|the highest mountain|the longest river|the Second World War|evolution""".replace("\n", " ").split("|")


def ask_unknown(rng):
    subject = " ".join(rng.choice(_SUBJECTS).split())
    stranger = rng.choice(GUEST_NAMES)
    question, index = pick(rng, [
        f"What is {subject}?", f"Tell me about {subject}.", f"What do you know about {subject}?", f"Explain {subject} to me.",
        f"Do you know {subject}?", f"How does {subject} work?", f"Why is {subject} important?", f"Write an essay about {subject}.",
        f"Can you help me with {subject}?", f"What do you think about {subject}?", f"Who invented {subject}?",
        f"Who is {stranger}?", f"What does {stranger} do?", f"Where does {stranger} live?", f"How old is {stranger}?",
        f"Translate this into {rng.choice(['French', 'German', 'Spanish', 'Dutch', 'Latin'])}.",
        f"What is the capital of {rng.choice(['Italy', 'Japan', 'Egypt', 'Peru', 'Norway', 'India', 'Canada', 'Kenya'])}?",
        "Write a program that sorts a list.", "What time is it?", "What is the date today?", "Who won the game yesterday?",
    ])
    return Turn(question, UNKNOWN, "I do not know.", ("always",))


# ---- stories ----

def _for_story(rng, hero, place, weather):
    who = hero if hero in PERSON else f"the {hero}"
    whom = hero if hero in PERSON else stories.a(hero)
    if hero in PERSON and rng.random() < 0.25:
        who = whom = f"{hero} the {PERSON[hero].job}"
    subject = rng.choice([who, whom])
    where = f" {stories.at(place)}" if place else ""
    when = f" in the {weather}" if weather else ""
    if place and weather and rng.random() < 0.4:
        return f"{subject}, the {place} and the {weather}"
    return subject + where + when


def ask_story(rng, hero=None):
    hero = hero or rng.choice(stories.HEROES)
    place = rng.choice(PLACES).name if rng.random() < 0.75 else None
    weather = rng.choice(WEATHERS).name if rng.random() < 0.75 else None
    start = rng.choice(["Tell me a story about", "Tell a story about", "Please tell me a story about", "Write a story about",
                        "Write a short story about", "I would like a story about", "Can you tell me a story about"])
    end = "?" if start.startswith("Can") else "."
    full = (hero, place or stories.default_place(hero), weather or stories.default_weather(hero))
    text = stories.story(*full)
    return Turn(f"{start} {_for_story(rng, hero, place, weather)}{end}", text, text, ("story", *full),
                hero if hero in PERSON else "", full)


def ask_any_story(rng):
    weather = rng.choice(WEATHERS).name if rng.random() < 0.5 else None
    place = rng.choice(PLACES).name if weather is None and rng.random() < 0.6 else None
    if weather:
        hero = stories.HEROES[([w.name for w in WEATHERS].index(weather) * 3 + 1) % len(stories.HEROES)]
        question = rng.choice([f"Tell me a story about the {weather}.", f"Write a story about the {weather}."])
        full = (hero, stories.default_place(hero), weather)
    elif place:
        hero = stories.HEROES[([p.name for p in PLACES].index(place) + 8) % len(stories.HEROES)]
        question = rng.choice([f"Tell me a story about the {place}.", f"Write a story about the {place}."])
        full = (hero, place, stories.default_weather(hero))
    else:
        full = ("fox", "mill", "rain")
        question = rng.choice(["Tell me a story.", "Tell me a story!", "Write a story.", "Do you know a story?", "A story, please.",
                               "Can you tell me a story?"])
    text = stories.story(*full)
    return Turn(question, text, text, ("story", *full), full[0] if full[0] in PERSON else "", full)


def ask_about_story(rng, full):
    hero, place, weather = full
    helper = stories.helper_of(hero, place)
    name = hero if hero in PERSON else f"the {hero}"
    kind = rng.choice(["who", "helper", "where", "weather", "helper job"])
    wordings, answer, brief = {
        "who": (["Who was the story about?", "Who is the hero of the story?"], f"The story was about {name}.",
                f"{stories.capital(name)}."),
        "helper": ([f"Who helped {name}?", "Who helped?", "Who came by?"], f"{helper.name} the {helper.job} helped {name}.",
                   f"{helper.name}."),
        "where": (["Where was that?", "Where did it happen?", f"Where was {name}?"], f"It happened {stories.at(place)}.",
                  f"{stories.capital(stories.at(place))}."),
        "weather": (["How was the weather?", "What was the weather like?"],
                    f"{stories.capital(WEATHER[weather].past)}.", f"{stories.capital(WEATHER[weather].past)}."),
        "helper job": (["What does the helper do?", "What is the job of the helper?"], f"{helper.name} is the {helper.job}.",
                       f"The {helper.job}."),
    }[kind]
    question, index = pick(rng, wordings)
    return Turn(question, answer, brief, ("about story", kind, hero, place, weather), helper.name if "helper" in kind else "", full)


# ---- conversations ----

_STARTERS = [(ask_person, 20), (ask_who, 10), (ask_yes_no, 7), (ask_older, 6), (ask_place, 7), (ask_animal, 9),
             (ask_who_of_animals, 2), (ask_weather, 6), (ask_year, 6), (ask_why, 5), (ask_number, 12), (ask_counting, 13),
             (tell_object, 9), (ask_list, 6), (ask_manners, 7), (ask_unknown, 5), (ask_story, 13), (ask_any_story, 3)]


def _next_turn(rng, facts, last):
    roll = rng.random()
    if last and last.story and roll < 0.45:
        return ask_about_story(rng, last.story)
    if last and last.person and roll < 0.40:
        return ask_about_her(rng, last.person)
    if last and last.key[0] in ("person", "pronoun", "ellipsis") and roll < 0.60:
        return ask_and_her(rng, last.person, last.key[-2])
    if 0.60 <= roll < 0.70:
        return tell_name(rng, facts)
    if 0.70 <= roll < (0.90 if facts else 0.72):
        return ask_name(rng, facts)
    functions, weights = zip(*_STARTERS)
    return rng.choices(functions, weights)[0](rng)


def _as_typed(rng, question):
    """People leave out capitals and question marks."""
    roll = rng.random()
    if roll < 0.08:
        question = question.lower()
    if rng.random() < 0.12:
        question = question.rstrip("?.!")
    if rng.random() < 0.10:
        question = question.replace("What is", "What's").replace("Who is", "Who's").replace("what is", "what's")
    return question


def conversation(rng, test=False, turns=None):
    """A list of messages and of turns. Of the training set no turn is held out; of the test set the last one is."""
    brief = rng.random() < 0.10
    system = rng.choice(BRIEFS) if brief else rng.choices([None, SYSTEM, rng.choice(OTHER_SYSTEMS)], [50, 30, 20])[0]
    messages = [] if system is None else [("system", system)]
    facts, last, taken = {}, None, []
    wanted = turns or rng.choices([1, 2, 3, 4, 5, 6, 15], [22, 23, 22, 15, 10, 7, 1])[0]
    for number in range(wanted):
        must_be_held_out = test and number == wanted - 1
        for _ in range(2000):
            known = dict(facts)
            turn = _next_turn(rng, known, last)
            if turn.key == ("always",):
                if must_be_held_out:
                    continue
            elif held_out(*turn.key) != must_be_held_out:
                continue
            facts = known
            break
        else:
            raise RuntimeError("no such turn")
        messages.append(("user", _as_typed(rng, turn.question)))
        messages.append(("assistant", turn.brief if brief else turn.answer))
        last = turn
        taken.append(turn)
    return messages, taken


def plain_story(rng):
    """A story without a conversation around it, for plain completion."""
    while True:
        full = rng.choice(stories.combinations())
        if not held_out("story", *full):
            return stories.story(*full)


def training_text(seed):
    """Endless documents: a list of messages, or a string."""
    rng = random.Random(seed)
    while True:
        yield plain_story(rng) if rng.random() < 0.08 else conversation(rng)[0]


def test_conversations(seed, count, turns=None):
    rng = random.Random(seed)
    return [conversation(rng, test=True, turns=turns) for _ in range(count)]
