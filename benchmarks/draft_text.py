"""Writes conversations for `slipstream train-draft`: made-up requests, answered by the model itself.

    python benchmarks/draft_text.py smollm2-135m answers.txt --count 2000 --minutes 15

A draft learns a target best from text that the target wrote. Requests are combined from lists here,
so that none is a prompt of a published benchmark. Run again, it goes on where the file ends.
"""

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slipstream import LLM
from slipstream.apps.training.pieces import SEPARATOR

BETWEEN = f"\n{SEPARATOR}\n"
CALLERS = 16
MOST_TOKENS = 224

TOPICS = [
    "volcanoes",
    "the Roman aqueducts",
    "honey bees",
    "learning the piano",
    "electric bicycles",
    "black holes",
    "sourdough bread",
    "the water cycle",
    "chess openings",
    "solar panels",
    "the Silk Road",
    "coral reefs",
    "meditation",
    "public libraries",
    "vaccines",
    "glaciers",
    "compost",
    "the printing press",
    "jazz",
    "marathon training",
    "earthquakes",
    "the human heart",
    "coffee",
    "medieval castles",
    "recycling",
    "wolves",
    "space stations",
    "inflation",
    "remote work",
    "the French Revolution",
    "tea ceremonies",
    "photosynthesis",
    "lighthouses",
    "robots in factories",
    "good sleep",
    "the stock market",
    "wind turbines",
    "dinosaurs",
    "city parks",
    "learning Spanish",
    "the immune system",
    "bridges",
    "origami",
    "home insurance",
    "antibiotics",
    "rivers",
    "tomatoes",
    "the moon",
    "video games",
    "friendship",
    "time management",
    "deserts",
    "penguins",
    "bicycle repair",
    "the Internet",
    "magnets",
    "batteries",
    "newspapers",
    "a birthday party",
    "train travel",
    "climate change",
    "ancient Egypt",
    "a job interview",
    "fractions",
    "gravity",
    "database indexes",
    "encryption",
    "unit tests",
    "pottery",
    "mushrooms",
    "rainbows",
    "whales",
    "the Great Wall of China",
    "mountain climbing",
    "school uniforms",
    "a small garden",
    "debt",
    "photography",
    "the brain",
    "football",
    "opera",
    "the Amazon rainforest",
    "typewriters",
    "hospitals",
    "cheese",
    "elections",
    "storms",
    "the atom",
    "a lost dog",
    "a haunted house",
    "pirates",
]

REQUESTS = [
    "Explain {} to a ten year old.",
    "What are the main facts about {}?",
    "Write a short story about {}.",
    "Write a poem about {}.",
    "List five interesting things about {}.",
    "What are the advantages and disadvantages of {}?",
    "Write an email to a friend about {}.",
    "Give me three tips about {}.",
    "How did {} change over time?",
    "Write a blog post introduction about {}.",
    "Why does {} matter?",
    "Write a dialogue between two people about {}.",
    "What are common misconceptions about {}?",
    "Suggest a title and an outline for a talk on {}.",
    "Who should care about {} and why?",
    "Compare {} with {}.",
    "Is {} related to {}?",
    "What is {}?",
    "Write a speech of one paragraph about {}.",
    "Describe {} in one sentence.",
    "How would you teach a class about {}?",
    "Write a review of a book about {}.",
    "What questions could an exam on {} ask?",
    "Translate into German: I have read a long article about {}.",
    "Translate into French: My brother knows a lot about {}.",
    "Act as an expert on {} and answer: where should a beginner start?",
    "Summarize what is known about {} in two sentences.",
    "Make a table of five words about {} and what they mean.",
    "What would the world be like without {}?",
]

SUMS = [
    "{a} people share {b} boxes with {c} apples each. How many apples does each person get?",
    "A train travels {a} km in {c} hours. What is its speed?",
    "A shirt costs {b} dollars and is reduced by {c} percent. What is the new price?",
    "What is {a} plus {b} times {c}?",
    "Anna has {a} coins, Ben has {b} more than Anna. How many coins do they have together?",
    "A rectangle is {a} cm long and {c} cm wide. What is its area?",
    "Solve for x: {c}x + {a} = {b}.",
    "A worker earns {b} dollars a day and works {c} days a week. How much is that in {a} weeks?",
]

CODE = [
    "returns the largest number of a list",
    "reverses the words of a sentence",
    "counts the vowels of a string",
    "checks whether a year is a leap year",
    "removes duplicates from a list and keeps the order",
    "merges two sorted lists",
    "computes the greatest common divisor of two numbers",
    "finds the longest word in a text",
    "converts Celsius to Fahrenheit",
    "checks whether two strings are anagrams",
    "flattens a nested list",
    "reads a CSV file and sums one column",
    "returns the n-th row of Pascal's triangle",
    "groups words by their first letter",
    "validates an email address",
    "rotates a matrix by 90 degrees",
    "counts how often each character occurs",
    "returns all permutations of a list",
    "converts a number to binary",
    "sorts a dictionary by its values",
    "finds the missing number in a range",
    "computes a moving average",
    "splits a list into chunks",
    "checks whether brackets are balanced",
    "transposes a matrix",
    "returns the digits of a number in reverse",
    "finds pairs with a given sum",
    "capitalizes every word",
    "computes compound interest",
    "searches a sorted list by bisection",
]

CODE_FORMS = [
    "Write a Python function that {}.",
    "Write a Python function with docstring and type hints that {}.",
    'Complete this function. Reply with the full code only.\n\ndef solution(value):\n    """A function that {}."""\n',
    "Explain step by step how to write a function that {}.",
    "Write a JavaScript function that {}.",
    "Write a test for a function that {}.",
]


def request(chance: random.Random) -> str:
    """One made-up request."""
    kind = chance.random()
    if kind < 0.25:
        return chance.choice(CODE_FORMS).format(chance.choice(CODE))
    if kind < 0.35:
        return chance.choice(SUMS).format(
            a=chance.randrange(2, 40), b=chance.randrange(40, 400), c=chance.randrange(2, 12)
        )
    form = chance.choice(REQUESTS)
    return form.format(*chance.sample(TOPICS, 2))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=2000, help="conversations in all")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so long")
    options = parser.parse_args()
    done = options.out.read_text().count(BETWEEN) if options.out.exists() else 0
    end = time.monotonic() + 60 * options.minutes
    with LLM(options.model, context=8192, speculate="off") as llm, options.out.open("a") as file:

        def answer(number: int) -> str | None:
            if time.monotonic() > end:
                return None
            text = request(random.Random(number))
            prompt = llm.chat_tokens([{"role": "user", "content": text}])
            # Greedy for half of them: that is what is measured; the others for variety.
            temperature = 0.0 if number % 2 else 0.7
            found = llm.generate(
                prompt, max_tokens=MOST_TOKENS, temperature=temperature, seed=number
            )
            return llm.detokenize([*prompt, *found.token_ids], skip_special=False)

        with ThreadPoolExecutor(CALLERS) as callers:
            for conversation in callers.map(answer, range(done, options.count)):
                if conversation is None:
                    break
                file.write(conversation + BETWEEN)
                file.flush()


if __name__ == "__main__":
    main()
