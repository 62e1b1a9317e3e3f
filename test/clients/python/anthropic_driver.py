"""Drives the `anthropic` package of PyPI."""

from anthropic import Anthropic

from protocol import parsed_or_text, serve

DEFAULT_OUTPUT_LIMIT = 256


def client_for(target, max_retries=None):
    options = {} if max_retries is None else {"max_retries": max_retries}
    return Anthropic(base_url=target["url"], api_key=target["key"], **options)


def first_messages(conversation):
    content = conversation["prompt"]
    image = conversation.get("image")
    if image:
        source = {"type": "base64", "media_type": image["mediaType"], "data": image["base64"]}
        content = [{"type": "text", "text": content}, {"type": "image", "source": source}]
    return [{"role": "user", "content": content}]


def parameters_for(conversation, messages):
    parameters = {
        "model": conversation["model"],
        "max_tokens": conversation.get("maxOutputTokens", DEFAULT_OUTPUT_LIMIT),
        "messages": messages,
    }
    if "system" in conversation:
        parameters["system"] = conversation["system"]
    if "stop" in conversation:
        parameters["stop_sequences"] = conversation["stop"]
    if "tools" in conversation:
        parameters["tools"] = [
            {"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]}
            for tool in conversation["tools"]
        ]
    return parameters


def whole(client, parameters, turn):
    message = client.messages.create(**parameters)
    turn["text"] = "".join(block.text for block in message.content if block.type == "text")
    turn["pieces"] = 1
    turn["toolCalls"] = [
        {"id": block.id, "name": block.name, "arguments": block.input}
        for block in message.content
        if block.type == "tool_use"
    ]
    turn["finish"] = message.stop_reason
    turn["stopSequence"] = message.stop_sequence
    turn["model"] = message.model
    turn["usage"] = message.usage.model_dump()


def streamed(client, parameters, conversation, turn):
    calls = {}
    leave_after = conversation.get("leaveAfterPieces")
    with client.messages.create(stream=True, **parameters) as stream:
        for event in stream:
            if event.type == "message_start":
                turn["model"] = event.message.model
                turn["usage"] = event.message.usage.model_dump()
            elif event.type == "content_block_start" and event.content_block.type == "tool_use":
                block = event.content_block
                calls[event.index] = {"id": block.id, "name": block.name, "arguments": ""}
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                turn["text"] += event.delta.text
                turn["pieces"] += 1
            elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                calls[event.index]["arguments"] += event.delta.partial_json
            elif event.type == "message_delta":
                turn["finish"] = event.delta.stop_reason
                turn["stopSequence"] = event.delta.stop_sequence
                turn["usage"].update({k: v for k, v in event.usage.model_dump().items() if v is not None})
            if leave_after is not None and turn["pieces"] >= leave_after:
                turn["left"] = True
                return
    turn["toolCalls"] = [
        dict(call, arguments=parsed_or_text(call["arguments"] or "{}")) for call in calls.values()
    ]


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
        said = [{"type": "text", "text": turn["text"]}] if turn["text"] else []
        calls = [
            {"type": "tool_use", "id": call["id"], "name": call["name"], "input": call["arguments"]}
            for call in turn["toolCalls"]
        ]
        answers = [
            {
                "type": "tool_result",
                "tool_use_id": call["id"],
                "content": results.get(call["name"], "no result"),
            }
            for call in turn["toolCalls"]
        ]
        messages.append({"role": "assistant", "content": said + calls})
        messages.append({"role": "user", "content": answers})


def list_models(target):
    return [model.id for model in client_for(target, 0).models.list()]


serve(converse, list_models)
