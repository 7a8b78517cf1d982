"""Short lists of runs in which every two values of different settings meet.

Each pair of settings is covered, not each combination, whose number grows with the product of all of them.
"""
import itertools


def pairs_of(run):
    return set(itertools.combinations(sorted(run.items(), key=str), 2))


def all_pairs(settings):
    """Of (setting, value), each pair sorted by its text."""
    return {tuple(sorted(((a, x), (b, y)), key=str)) for a, b in itertools.combinations(settings, 2)
            for x in settings[a] for y in settings[b]}


def fill(run, settings, wanted):
    """Every setting that `run` leaves open takes the value that meets most of what is wanted; the first of equals."""
    for name in settings:
        if name in run:
            continue
        def met(value):
            return sum(tuple(sorted(((name, value), other), key=str)) in wanted for other in run.items())
        run[name] = max(settings[name], key=met)
    return {name: run[name] for name in settings}


def covering_runs(settings):
    """[{setting: value}]: greedy, and always the same."""
    wanted = all_pairs(settings)
    order = {(name, value): i for i, (name, value) in enumerate((n, v) for n in settings for v in settings[n])}
    chosen = []
    while wanted:
        # A run is begun from each of a few open pairs; the one that meets most is taken.
        first = sorted(wanted, key=lambda pair: sorted(order[item] for item in pair))[:12]
        runs = [fill(dict(pair), settings, wanted) for pair in first]
        best = max(runs, key=lambda run: len(pairs_of(run) & wanted))
        wanted -= pairs_of(best)
        chosen.append(best)
    return chosen
