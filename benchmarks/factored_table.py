"""
The tables of benchmarks/factored.py, as Markdown: python benchmarks/factored_table.py learn, and ... cost

``learn``: what critics learn, as the mean return of each seed's 100 deterministic episodes. ``cost``: milliseconds of a
gradient step and the process's peak memory, by the sum S of the components' sizes.
"""

import argparse
from typing import Any

from factored import COST, COST_OPTIONS, EPISODES, LEARN, LEARNERS, SIZES, TASKS
from runs import read


def learn() -> None:
    lines = read(LEARN)
    print("| task | steps | best | learner | return of each seed |")
    print("|" + " --- |" * 5)
    for task, (_, best, steps, _) in TASKS.items():
        for learner in LEARNERS[task]:
            found = {
                line["seed"]: line
                for line in lines
                if _is(line, task=task, learner=learner, steps=steps, episodes=EPISODES)
            }
            if found:
                scores = ", ".join(f"{line['score']:.3g}" for _, line in sorted(found.items()))
                print(f"| {task} | {steps} | {best} | {learner} | {scores} |")


def cost() -> None:
    lines = read(COST)
    print("| execution | action space | S | " + " | ".join(COST_OPTIONS) + " |")
    print("|" + " --- |" * (3 + len(COST_OPTIONS)))
    for execution in ("eager", "compile"):
        for sizes in SIZES:
            found = {
                critic: next(
                    (line for line in lines if _is(line, sizes=sizes, critic=critic, execution=execution)), None
                )
                for critic in COST_OPTIONS
            }
            cells = [f"{line['milliseconds']:.0f} ms, {line['peak_mb']} MB" if line else "" for line in found.values()]
            space = f"MultiBinary({len(sizes)})" if sizes[0] == 2 else f"MultiDiscrete([{sizes[0]}] * {len(sizes)})"
            print(f"| {execution} | {space} | {sum(sizes)} | " + " | ".join(cells) + " |")


def _is(line: dict[str, Any], **job: Any) -> bool:
    return job.items() <= line.items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=("cost", "learn"))
    {"cost": cost, "learn": learn}[parser.parse_args().question]()


if __name__ == "__main__":
    main()
