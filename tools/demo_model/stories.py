# SPDX-License-Identifier: MIT
"""Short stories about the valley: a pure function of hero, place and weather.

A story has no free choices, so a model that learned the valley tells every combination, also those it never saw, and is
seldom torn between two words: greedy decoding says the same whatever the numbers are stored in.
"""
from world import ANIMAL, ANIMALS, PEOPLE, PERSON, PLACE, PLACES, WEATHER, WEATHERS, worker_at

HEROES = [person.name for person in PEOPLE] + [animal.name for animal in ANIMALS]


def a(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def capital(text):
    return text[0].upper() + text[1:]


def at(place):
    return f"{PLACE[place].at} the {place}"


def default_place(hero):
    return PERSON[hero].place if hero in PERSON else ANIMAL[hero].place


def default_weather(hero):
    return WEATHERS[HEROES.index(hero) % len(WEATHERS)].name


def helper_of(hero, place):
    helper = worker_at(place)
    return PERSON[helper.friend] if helper.name == hero else helper


class _Hero:
    """What a story says of its hero, person or animal."""

    def __init__(self, name):
        self.is_person = name in PERSON
        if self.is_person:
            person = PERSON[name]
            self.first = f"{name} the {person.job}"
            self.name, self.she, self.her, self.hers = name, person.she, person.her, person.hers
            self.food, self.tool = person.food, person.tool
            self.companion = f"{person.hers} {person.pet} {person.pet_name}"
        else:
            animal = ANIMAL[name]
            self.first = f"{a(animal.colour)} {name}"
            self.name, self.she, self.her, self.hers = f"the {name}", "it", "it", "its"
            self.food, self.skill, self.home = animal.food, animal.skill, animal.home


def _opening(hero, place, weather):
    season = WEATHER[weather].season
    if hero.is_person:
        return (f"One {season} morning, {hero.first} went to the {place} with {hero.companion}. "
                f"{hero.she.capitalize()} had {hero.tool} and some {hero.food} for the way.")
    return (f"One {season} day, {hero.first} came out of {hero.home} and went to the {place}. "
            f"{hero.she.capitalize()} was hungry and was looking for {hero.food}.")


def _trouble(hero, place, weather, helper):
    scene = f"But {WEATHER[weather].past} {at(place)}, and soon "
    s, name = hero.she, hero.name
    return scene + {
        "rain": f"the river began to rise. The water came closer and closer, and {name} could not go back.",
        "snow": f"the roads turned white. {capital(name)} could no longer see the way home, and {hero.hers} feet were cold.",
        "fog": f"nobody could see a thing. {capital(name)} walked in a circle three times and came back to the same stone.",
        "wind": f"the wind took {a_thing(hero)} and carried it up into a tree. {capital(name)} looked up and was sad.",
        "storm": f"thunder rolled over the hills. {capital(name)} was afraid and hid under a table.",
        "sunshine": f"the day became very hot. {capital(name)} was thirsty, and there was no water anywhere.",
        "frost": f"the ground was as smooth as glass. {capital(name)} slipped, fell down and hurt {hero.hers} leg.",
        "hail": f"stones of ice fell from the sky, as big as nuts. {capital(name)} ran, but there was no roof to be seen.",
    }[weather]


def a_thing(hero):
    return f"{hero.hers} hat" if hero.is_person else f"{hero.hers} breakfast"


def _help(hero, place, weather, helper):
    h, name = helper, hero.name
    first = f"Then {h.name} the {h.job} came by with {h.hers} {h.pet} {h.pet_name}."
    return first + " " + {
        "rain": f"{h.she.capitalize()} threw a rope over the water and pulled {hero.her} to the other side.",
        "snow": f"{h.she.capitalize()} lit a lantern, and they followed {h.pet_name} through the snow, step by step.",
        "fog": f"{h.she.capitalize()} rang a small bell, and {name} followed the sound until the fog was gone.",
        "wind": f"{h.she.capitalize()} climbed the tree, laughed at the wind and brought everything down again.",
        "storm": f"{h.she.capitalize()} closed the shutters, lit a candle and sang until the thunder was far away.",
        "sunshine": f"{h.she.capitalize()} showed {hero.her} a cool spring behind the stones, and they both drank.",
        "frost": f"{h.she.capitalize()} wrapped {h.hers} scarf around the leg and carried {hero.her} home on a sled.",
        "hail": f"{h.she.capitalize()} opened a big umbrella, and they waited under it until the sky was blue.",
    }[weather]


def _ending(hero, place, weather, helper):
    h = helper
    if hero.is_person:
        return (f"In the evening they sat together, ate {hero.food} and {h.food}, and were glad. "
                f"Since that day {hero.name} and {h.name} go to the {place} together.")
    return (f"In the evening {h.name} gave {hero.name} some {hero.food}, and {hero.name} showed {h.her} how to "
            f"{hero.skill}. Since that day {hero.name} is never alone {at(place)}.")


def story(hero_name, place=None, weather=None):
    """Four sentences groups: who goes where, what goes wrong, who helps, how it ends."""
    place = place or default_place(hero_name)
    weather = weather or default_weather(hero_name)
    hero, helper = _Hero(hero_name), helper_of(hero_name, place)
    return " ".join(part(hero, place, weather, helper) if part is not _opening else part(hero, place, weather)
                    for part in (_opening, _trouble, _help, _ending))


def combinations():
    return [(hero, place.name, weather.name) for hero in HEROES for place in PLACES for weather in WEATHERS]
