"""The line protocol between the tests and a Python client: one JSON command a line in, one JSON outcome out."""

import json
import sys


def parsed_or_text(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def describe_error(error):
    """An exception as the tests compare it: class names, nearest first, and what the client knows of it."""
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", {})
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else {}
    inner = inner if isinstance(inner, dict) else {}
    code = getattr(error, "code", None) or getattr(error, "error_code", None) or inner.get("code")
    return {
        "classes": [cls.__name__ for cls in type(error).__mro__ if issubclass(cls, Exception)],
        "status": getattr(error, "status_code", None),
        "code": code,
        "type": getattr(error, "type", None) or inner.get("type"),
        "message": str(error),
        "retryAfter": headers.get("retry-after"),
        "requestId": getattr(error, "request_id", None),
    }


def serve(converse, list_models):
    """Reads commands until the input ends."""
    for line in sys.stdin:
        command = json.loads(line)
        target = command["target"]
        if command["command"] == "models":
            outcome = {"models": [], "error": None}
            try:
                outcome["models"] = list_models(target)
            except Exception as error:
                outcome["error"] = describe_error(error)
        else:
            outcome = {"turns": [], "error": None}
            try:
                converse(target, command["conversation"], outcome["turns"])
            except Exception as error:
                outcome["error"] = describe_error(error)
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()
