"""A producer, a worker and a waiter of another language, which know the wire and nothing of this package.

They use redis-py and plain commands, one by one, as somebody would who has only read the wire's page. Each
prints `ready` once it has started, then one line of JSON for each thing that it does.
"""

import argparse
import json
import signal
import sys
import traceback
import uuid
from datetime import datetime, timezone

import redis


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("produce", help="put tasks in; print {id}")
    command.add_argument("--function", default="add")
    command.add_argument("--args", default='{"a": 1, "b": 2}', help="written as it is")
    command.add_argument("--count", type=int, default=1)
    command.add_argument("--id", help="instead of a UUID; with a count above 1, a number is added")
    command.set_defaults(run=produce)

    command = commands.add_parser("work", help="run tasks; print {taken}, then {id, result}")
    command.add_argument("--count", type=int, help="end after so many (default: on SIGTERM)")
    command.add_argument("--hold", action="store_true", help="before running each task, wait for a line on stdin")
    command.set_defaults(run=work)

    command = commands.add_parser("wait", help="read each finished task; print {id, state, result, value, final}")
    command.add_argument("--count", type=int, default=1, help="end after so many")
    command.set_defaults(run=wait)

    for command in commands.choices.values():
        command.add_argument("--url", required=True)
        command.add_argument("--queue", required=True)

    options = parser.parse_args()
    # RESP2: what a client of any age speaks.
    options.run(redis.from_url(options.url, decode_responses=True, protocol=2), options)


def produce(r, options):
    say("ready")
    for number in range(options.count):
        task = options.id or str(uuid.uuid4())
        if options.id and options.count > 1:
            task = f"{options.id}{number}"
        key = f"{options.queue}:task:{task}"
        r.execute_command("HSET", key, "function", options.function)
        r.execute_command("HSET", key, "state", "pending")
        r.execute_command("HSET", key, "args", options.args)
        r.execute_command("LPUSH", f"{options.queue}:pending", task)
        say_json(id=task)


def work(r, options):
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    say("ready")
    done = 0
    while not stopping and done != options.count:
        task = r.execute_command("BRPOPLPUSH", f"{options.queue}:pending", f"{options.queue}:executing", 0.1)
        if task:
            run(r, options, task)
            done += 1


def run(r, options, task):
    key = f"{options.queue}:task:{task}"
    name, state, args = r.execute_command("HMGET", key, "function", "state", "args")
    if name is None or state == "finished":
        r.execute_command("LREM", f"{options.queue}:executing", 1, task)
        say_json(dropped=task)
        return
    r.execute_command("HSET", key, "state", "executing", "executing-created", now())
    say_json(taken=task)
    if options.hold:
        sys.stdin.readline()

    try:
        outcome = {"result": "successful", "result-value": json.dumps(FUNCTIONS[name](**json.loads(args or "{}")))}
    except Exception as error:
        outcome = {
            "result": "failed",
            "error-reason": str(error),
            "error-exception": traceback.format_exc(),
        }

    finish = r.pipeline(transaction=True)
    for field, value in {"state": "finished", **outcome, "finished-created": now()}.items():
        finish.execute_command("HSET", key, field, value)
    finish.execute_command("LREM", f"{options.queue}:executing", 1, task)
    finish.execute()
    r.execute_command("PUBLISH", f"{options.queue}:results", key)
    say_json(id=task, result=outcome["result"])


def wait(r, options):
    subscription = r.pubsub()
    subscription.subscribe(f"{options.queue}:results")
    seen = 0
    all_final = True
    for message in subscription.listen():
        if message["type"] == "subscribe":
            say("ready")
            continue
        key = message["data"]
        state, result, value = r.execute_command("HMGET", key, "state", "result", "result-value")
        final = state == "finished" and result in ("successful", "failed")
        all_final = all_final and final
        prefix = f"{options.queue}:task:"
        say_json(id=key.removeprefix(prefix), key=key, state=state, result=result, value=value, final=final)
        seen += 1
        if seen == options.count:
            break
    sys.exit(0 if all_final else "a message came before its task was final")


def fail(**args):
    raise RuntimeError(args.get("message", "failed on purpose"))


FUNCTIONS = {
    "echo": lambda text: text,
    "add": lambda a, b: a + b,
    "fail": fail,
}


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def say(line):
    print(line, flush=True)


def say_json(**what):
    say(json.dumps(what))


if __name__ == "__main__":
    main()
