"""
The runs in results/learning.jsonl as a Markdown table: python benchmarks/learning_table.py

Each seed's score is the mean return of its deterministic episodes. The next columns have the worst episode of all, and
the interquartile mean of the seeds' scores with its 95 % bootstrap interval. The last column is how far SoftAC is ahead
on the seeds that both have, with the interval of this difference: "better" or "worse" if it does not include 0. Seeds
are not paired: with the same seed, two algorithms see the same first episode and have nothing else in common. With five
seeds, such intervals hold in about 90 % of cases.
"""

import argparse

from learning import CONTENDERS, STEPS, up_to_date
from runs import RESULTS, read

from sac_ext.tuning.statistics import compare, interquartile_mean, interval

ENOUGH = 3
"""Seeds needed to compare. Bootstrap intervals of so few are too narrow: of five values, about 90 % instead of 95 %."""


def number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def between(limits: tuple[float, float]) -> str:
    return f"({number(limits[0])} to {number(limits[1])})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", choices=STEPS, default=list(STEPS))
    options = parser.parse_args()
    lines = up_to_date(read(RESULTS / "learning.jsonl"))
    print(
        "| environment | steps | contender | score of each seed | worst episode | over the seeds | SoftAC is ahead by |"
    )
    print("|" + " --- |" * 7)
    for env in options.envs:
        scores: dict[str, dict[int, float]] = {}
        worst: dict[str, float] = {}
        for line in lines:
            if line["env"] == env:
                scores.setdefault(line["contender"], {})[line["seed"]] = line["mean"]
                worst[line["contender"]] = min(line["min"], worst.get(line["contender"], line["min"]))
        known = [*CONTENDERS[env], *sorted(scores.keys() - CONTENDERS[env].keys())]
        for contender in [name for name in known if name in scores]:
            of_seeds = dict(sorted(scores[contender].items()))
            values = list(of_seeds.values())
            cells = [env, f"{STEPS[env] // 1000}k", contender, ", ".join(map(number, values)), number(worst[contender])]
            cells.append(f"{number(interquartile_mean(values))} {between(interval(values))}")
            ahead = ""
            shared = [seed for seed in of_seeds if seed in scores.get("SoftAC", {})]
            if contender != "SoftAC" and shared:
                ahead = f"{len(shared)} seed{'s' * (len(shared) > 1)} only"
                if len(shared) >= ENOUGH:
                    found = compare([scores["SoftAC"][seed] for seed in shared], [of_seeds[seed] for seed in shared])
                    ahead = f"{number(found.difference)} {between(found.interval)}: {found.verdict}"
            print("| " + " | ".join([*cells, ahead]) + " |")


if __name__ == "__main__":
    main()
