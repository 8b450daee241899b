"""A program that sends texts without keys, as fast as it can, from two threads; it prints the id of each."""

import sys
from concurrent.futures import ThreadPoolExecutor

from worker import Producer, Text


def main(mark: str, number: int) -> None:
    producer = Producer()

    def send(position: int) -> None:
        message = producer.send("hr", Text(content=f"{mark} {position}"), users=[f"{mark}{position}"])
        sys.stdout.write(f"{message}\n")

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(send, range(number)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
