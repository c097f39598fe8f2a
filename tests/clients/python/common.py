# SPDX-License-Identifier: MIT
# What the scripts in this folder share. Each is given the address of `spillway serve` with a real small model, that of
# the scripted server, whose models do what they are told, and the name of the real model.
import json
import sys
import urllib.request

real, scripted, model = sys.argv[1:4]
# What a small base model goes on with for certain, greedily: " 6" and " Thursday".
numbers = "1, 2, 3, 4, 5,"
days = "Monday, Tuesday, Wednesday,"
question = 'CALL weather {"city": "Tromsø", "days": 2}'  # the scripted model calls, and repeats what the tool says
arguments = {"city": "Tromsø", "days": 2}


def weather(city: str, days: int = 1) -> str:
    """Tells the weather of a city."""
    return f"{days} days of sun in {city}"


said = f"The tool said: {weather(**arguments)}"


def post(path, body, base=real, **headers):
    """Status and parsed reply; an error's too."""
    request = urllib.request.Request(base + path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=300) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
