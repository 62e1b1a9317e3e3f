"""Drives the `openai` package of PyPI."""

import json

from openai import OpenAI

from protocol import parsed_or_text, serve


def client_for(target, max_retries=None):
    options = {} if max_retries is None else {"max_retries": max_retries}
    return OpenAI(base_url=target["url"] + "/v1", api_key=target["key"], **options)


def first_messages(conversation):
    content = conversation["prompt"]
    image = conversation.get("image")
    if image:
        url = "data:%s;base64,%s" % (image["mediaType"], image["base64"])
        content = [{"type": "text", "text": content}, {"type": "image_url", "image_url": {"url": url}}]
    messages = [{"role": "user", "content": content}]
    if "system" in conversation:
        messages.insert(0, {"role": "system", "content": conversation["system"]})
    return messages


def parameters_for(conversation, messages):
    parameters = {"model": conversation["model"], "messages": messages}
    if "stop" in conversation:
        parameters["stop"] = conversation["stop"]
    if "maxOutputTokens" in conversation:
        parameters["max_completion_tokens"] = conversation["maxOutputTokens"]
    if "tools" in conversation:
        parameters["tools"] = [{"type": "function", "function": tool} for tool in conversation["tools"]]
    return parameters


def whole(client, parameters, turn):
    completion = client.chat.completions.create(**parameters)
    choice = completion.choices[0]
    turn["text"] = choice.message.content or choice.message.refusal or ""
    turn["pieces"] = 1
    turn["toolCalls"] = [
        {"id": call.id, "name": call.function.name, "arguments": parsed_or_text(call.function.arguments)}
        for call in choice.message.tool_calls or []
    ]
    turn["finish"] = choice.finish_reason
    turn["model"] = completion.model
    turn["usage"] = completion.usage.model_dump() if completion.usage else None


def streamed(client, parameters, conversation, turn):
    if conversation.get("includeUsage"):
        parameters["stream_options"] = {"include_usage": True}
    calls = {}
    leave_after = conversation.get("leaveAfterPieces")
    with client.chat.completions.create(stream=True, **parameters) as stream:
        for chunk in stream:
            turn["model"] = turn["model"] or chunk.model
            if chunk.usage:
                turn["usage"] = chunk.usage.model_dump()
            for choice in chunk.choices[:1]:
                text = choice.delta.content or choice.delta.refusal
                if text:
                    turn["text"] += text
                    turn["pieces"] += 1
                for delta in choice.delta.tool_calls or []:
                    call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                    call["id"] += delta.id or ""
                    call["name"] += (delta.function and delta.function.name) or ""
                    call["arguments"] += (delta.function and delta.function.arguments) or ""
                turn["finish"] = choice.finish_reason or turn["finish"]
            if leave_after is not None and turn["pieces"] >= leave_after:
                turn["left"] = True
                return
    turn["toolCalls"] = [dict(call, arguments=parsed_or_text(call["arguments"])) for call in calls.values()]


def converse(target, conversation, turns):
    client = client_for(target, conversation.get("maxRetries"))
    messages = first_messages(conversation)
    while True:
        turn = {"text": "", "pieces": 0, "toolCalls": [], "finish": None, "stopSequence": None}
        turn.update({"model": None, "usage": None, "left": False})
        parameters = parameters_for(conversation, messages)
        if conversation["stream"]:
            turns.append(turn)
            streamed(client, parameters, conversation, turn)
        else:
            whole(client, parameters, turn)
            turns.append(turn)
        results = conversation.get("toolResults")
        if len(turns) > 1 or not turn["toolCalls"] or results is None:
            return
        calls = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
            }
            for call in turn["toolCalls"]
        ]
        messages.append({"role": "assistant", "content": turn["text"] or None, "tool_calls": calls})
        for call in turn["toolCalls"]:
            result = results.get(call["name"], "no result")
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})


def list_models(target):
    return [model.id for model in client_for(target, 0).models.list()]


serve(converse, list_models)
