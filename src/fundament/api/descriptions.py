"""What the API reference says of each field: keyed by `Type.field`, or by the field where it means the same everywhere.

It knows words, not types: those are `protocol/`'s. What each kind of model does with a parameter: docs/parameters.md.
"""

from collections.abc import Mapping
from types import MappingProxyType

DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        # Requests
        "audio": "The voice and format of spoken output, for models that speak.",
        "best_of": "Computes so many completions and answers with the likeliest.",
        "echo": "Answer with the prompt before the completion.",
        "frequency_penalty": "Above 0, tokens are less likely the more often they already are in the text.",
        "function_call": "Older name of `tool_choice`: `none`, `auto`, or the function to call.",
        "functions": "Older name of `tools`: the functions that the model may call.",
        "logit_bias": "Token ids, each with what is added to its logit, from -100 (never) to 100 (only).",
        "ChatRequest.logprobs": "Also answer with the log probability of each token.",
        "CompletionRequest.logprobs": "Also answer with the log probabilities of so many likeliest tokens.",
        "max_completion_tokens": "The most tokens to generate, with those of reasoning.",
        "ChatRequest.max_tokens": "Older name of `max_completion_tokens`; one of the two.",
        "max_tokens": "The most tokens to generate; 16 if left out.",
        "ChatRequest.messages": "The conversation so far. The model answers the last message.",
        "metadata": "Up to 16 names and values of your own.",
        "modalities": "What the answer is made of: `text`, and `audio` for models that speak.",
        "model": "The id of a model, or one of its aliases: see `GET /models`.",
        "moderation": "Moderation of input and output, where the vendor of a bought model offers it.",
        "n": "How many answers to generate.",
        "parallel_tool_calls": "Whether one answer may call several functions.",
        "prediction": "What most of the answer is known to be, so that the vendor can generate faster.",
        "presence_penalty": "Above 0, tokens that already are in the text are less likely.",
        "CompletionRequest.prompt": "The text to continue: a string or token ids, or a list of those. It reaches the "
        "model as it is, without chat template.",
        "prompt_cache_key": "Groups requests with a common beginning, for the vendor's cache.",
        "prompt_cache_options": "How the vendor's prompt cache is used.",
        "prompt_cache_retention": "How long the vendor may keep a cached prompt.",
        "reasoning_effort": "How much a model that reasons may think.",
        "response_format": "The form of the answer: `text`, `json_object` (any JSON object), or `json_schema`.",
        "safety_identifier": "A stable, hashed name of your end user.",
        "seed": "The same seed with the same request gives the same answer, as far as the model can.",
        "service_tier": "Which of the vendor's processing tiers to use.",
        "stop": "Up to four texts, before any of which the model stops.",
        "store": "Keep the answer for later retrieval.",
        "stream": "Answer with server-sent events, as tokens are generated; `data: [DONE]` ends the stream.",
        "stream_options": "Options of a stream; only with `stream`.",
        "suffix": "The text that follows the completion, for models that can fill in the middle.",
        "temperature": "0 to 2. Lower is more deterministic, higher more varied.",
        "tool_choice": "`none`, `auto`, `required` (at least one call), a function to call, or a list of allowed ones.",
        "tools": "The functions that the model may call.",
        "ChatRequest.top_logprobs": "How many alternatives to show for each token; needs `logprobs`.",
        "top_p": "Choose among the likeliest tokens that together have this probability.",
        "client_metadata": "What a client tells of itself. Taken, and not read.",
        "chat_template_kwargs": "Settings of the model's chat template. Not OpenAI's; docs/parameters.md says where.",
        "grammar": "A grammar that the answer is held to, in GBNF or Lark. Not OpenAI's; for the embedded engine.",
        "min_p": "Tokens less likely than this part of the likeliest are left out. Not OpenAI's.",
        "repeat_penalty": "Divides the logits of tokens that were used: 1 is neutral. llama.cpp's name, not OpenAI's.",
        "repetition_penalty": "The same as `repeat_penalty`, by vLLM's name.",
        "top_k": "Only so many of the likeliest tokens are considered; 0 or -1 is all. Not OpenAI's.",
        "user": "Older name of `safety_identifier`.",
        "verbosity": "How wordy the answer is, for models that can be told.",
        "web_search_options": "Search of the web by the model, where its vendor offers it.",
        # Parts of requests
        "include_usage": "Send the tokens used in a last chunk, with no choices.",
        "include_obfuscation": "Pad chunks to equal size, where the vendor offers it.",
        "JsonSchema.name": "Names the schema, for the model.",
        "JsonSchema.schema": "The JSON Schema that the answer must be valid against.",
        "strict": "Hold the model to the schema.",
        "FunctionDefinition.parameters": "The JSON Schema of the arguments.",
        "description": "What it is for: the model decides by it.",
        "arguments": "The arguments as a JSON text.",
        "reasoning_content": "What the model thought before it answered.",
        "tool_call_id": "The call that this is the result of.",
        "detail": "How closely to look at the image.",
        "refusal": "Why the model refuses, if it does.",
        # Answers
        "id": "Unique.",
        "ChatCompletionChunk.id": "The same in all chunks of a stream.",
        "Model.id": "The name to ask with: the id, or the alias that was asked for.",
        "created": "Unix time in seconds.",
        "choices": "The answers, as many as `n`. Empty in a stream's last chunk with the usage.",
        "finish_reason": "`stop`: the model ended or met a stop text. `length`: `max_tokens` or the context was "
        "reached. `tool_calls`: the model calls functions. null in a stream until the end.",
        "usage": "Tokens used. In a stream only with `stream_options.include_usage`, in the last chunk.",
        "system_fingerprint": "Names the weights and the engine that answered.",
        "prompt_tokens": "Tokens read.",
        "completion_tokens": "Tokens generated.",
        "cached_tokens": "Those of the prompt that the engine still had from an earlier request.",
        "top_logprobs": "The likeliest tokens at this place.",
        "logprobs": "Log probabilities, if they were asked for.",
        "delta": "What is new since the last chunk.",
        "owned_by": "Who made the model.",
        "meta_data": "What is known about the model beyond OpenAI's fields; null is not known.",
        "max_sequence_length": "Tokens of prompt and answer together.",
        "hidden_size": "The width of the model's embeddings.",
        "max_output_length": "The most tokens in an answer.",
        "quantisation": "How the weights are stored.",
        "open_weights": "Whether `POST /completions` is offered.",
        "hosted_by": "Who runs the model; `self` is this service.",
        "region": "Where it runs.",
        "license": "Of the weights.",
        "aliases": "Other names of the model.",
        "message": "For the person debugging.",
        "Error.param": "The field at fault, with its path.",
        "Error.code": "For the program; null if there is none.",
        "ChatChoice.message": "The answer.",
        # The Responses and Conversations APIs
        "ResponsesRequest.background": "Make the response while nobody waits; it is polled or streamed later.",
        "context_management": "Compaction of a long context, where the vendor offers it.",
        "ResponsesRequest.conversation": "The conversation to go on with, by its id. Its items come before `input`; "
        "those of `input` and of the answer are added to it.",
        "include": "What else to tell: `message.output_text.logprobs` for the log probabilities of tokens.",
        "ResponsesRequest.input": "A text, or items: messages, calls with their results, reasoning.",
        "instructions": "What the model is told before all else. It is not kept for the next response.",
        "max_output_tokens": "The most tokens to generate, with those of reasoning; at least 16.",
        "max_tool_calls": "The most calls of tools that the service runs itself.",
        "previous_response_id": "The response to go on from: its input and output come before `input`.",
        "ResponsesRequest.prompt": "A stored prompt, where the vendor offers it.",
        "ResponsesRequest.reasoning": "How a model that reasons does it.",
        "ResponsesRequest.store": "Keep the response for later; true if left out.",
        "ResponsesRequest.stream": "Answer with server-sent events, as tokens are generated.",
        "ResponsesRequest.text": "The form of the answer.",
        "ResponsesRequest.top_logprobs": "How many alternatives to show for each token.",
        "truncation": "`auto`: an input that is longer than the context loses its oldest turns. `disabled`: it is "
        "refused.",
        "ResponsesStreamOptions.include_obfuscation": "Pad deltas, so that their length tells nothing; true if left "
        "out.",
        "effort": "How much a model that reasons may think.",
        "ReasoningOptions.summary": "How to sum up the reasoning, where the vendor offers it.",
        "generate_summary": "Older name of `summary`.",
        "ReasoningOptions.context": "Which of the earlier reasoning the model sees.",
        "ReasoningOptions.mode": "How the model reasons, where the vendor offers a choice.",
        "TextOptions.format": "`text`, `json_object` (any JSON object), or `json_schema`.",
        "FormatJsonSchema.name": "Names the schema, for the model.",
        "FormatJsonSchema.schema": "The JSON Schema that the answer must be valid against.",
        "ResponsesFunctionTool.parameters": "The JSON Schema of the arguments.",
        "ResponsesFunctionTool.strict": "Hold the arguments to the schema; if left out, held where each object in it "
        "is closed and requires all its properties.",
        "call_id": "Links a call with its result.",
        "output": "What the call resulted in.",
        "server_label": "Names the MCP server within the request.",
        "server_url": "Where the MCP server is.",
        "connector_id": "A connector of the vendor's, in place of `server_url`.",
        "authorization": "The access token that the MCP server is sent. Never kept or shown.",
        "headers": "HTTP headers that the MCP server is sent. Never kept or shown.",
        "allowed_tools": "Which tools the model may call.",
        "require_approval": "Which calls wait for an `mcp_approval_response`.",
        "status": "How far it has come.",
        "NewConversation.items": "The first items, at most 20.",
        "ItemsToAdd.items": "The items to append, at most 20.",
        "created_at": "Unix time in seconds.",
        "completed_at": "Unix time in seconds; null until it is completed.",
        "Response.error": "Why it failed, if it did.",
        "incomplete_details": "Why it is incomplete, if it is.",
        "Response.output": "The items of the answer: messages, calls, reasoning.",
        "Response.usage": "Tokens used; null until it has ended.",
        "input_tokens": "Tokens read.",
        "output_tokens": "Tokens generated.",
        "reasoning_tokens": "Those of the generated tokens that are reasoning.",
        "total_tokens": "Tokens read and generated.",
        "first_id": "The id of the first item on the page; empty if there is none.",
        "last_id": "The id of the last item on the page: `after` for the next one.",
        "has_more": "Whether there is another page.",
        "sequence_number": "Counts the events of a stream from 0.",
        "output_index": "The item's place in `output`.",
        "content_index": "The part's place in the item's `content`.",
        "item_id": "The item that it belongs to.",
        "obfuscation": "Padding, of no meaning.",
        "encrypted_content": "Opaque to clients: send it back as it came.",
        "price": "What a million tokens cost, where usage is billed.",
        "ModelPrice.input": "For a million tokens that were read.",
        "ModelPrice.cached_input": "For a million of those that were in the cache.",
        "ModelPrice.output": "For a million tokens that were generated, reasoning included.",
        "per_tokens": "So many tokens the prices are for.",
        "currency": "The currency's code: `EUR`.",
        "day": "A day of UTC.",
        "contract_id": "The contract that pays.",
        "contract_name": "Its name; null when it is gone.",
        "key_id": "The key that was used.",
        "key_name": "Its name; null when it is gone.",
        "UsageTotals.model": "The id of the model that served.",
        "requests": "How many requests reached a model, however they ended.",
        "UsageTotals.cached_tokens": "Those of the input that the server had read before.",
        "cost_nanos": "What they cost, in billionths of the currency.",
        "CompactRequest.input": "What was said: a text, or items.",
    }
)

OVERVIEW = """\
An OpenAI-compatible API for the models that your organisation hosts and those that it buys.

Change the two variables `OPENAI_BASE_URL` and `OPENAI_API_KEY`, and code written for OpenAI's API runs here. The same \
API is served below `/v2` and `/v1`.

**Authentication.** Send your key with every request: `Authorization: Bearer KEY`.

**Errors** have OpenAI's shape. `param` names the field at fault with its path (`messages[1].content`), `code` is for \
programs. Nothing is ignored in silence: a parameter that a model cannot honour is a 400 with the code \
`unsupported_parameter`. Every answer carries an `x-request-id`.
"""

CHAT = """\
Answers a conversation. With `stream`, the answer comes as server-sent events of type `ChatCompletionChunk`: the role \
first, the `finish_reason` last, then `data: [DONE]`. A failure before the first event keeps its HTTP status; after \
it, one event with `error` ends the stream.
"""

COMPLETION = """\
Continues a raw text: no chat template, no message format. Offered for models with open weights; for others the answer \
is a 400 that names the chat endpoint.
"""

RESPONSE = """\
Answers an input: a text, or items (messages, calls of tools with their results, reasoning). The response is kept \
unless `store` is false, and `previous_response_id` or `conversation` goes on from what is kept. With `stream`, the \
answer comes as server-sent events of type `ResponseEvent`, from `response.created` to `response.completed`, \
`response.incomplete` or `response.failed`; there is no `[DONE]`. With `background`, the answer is the response as \
`queued`, and it is made while nobody waits.

Models whose servers speak Responses themselves also take those servers' tools (web search, code interpreter and so \
on), and tell the events of these as OpenAI's API has them.
"""

RETRIEVE = """\
The response as it is now. With `stream=true`, its events from the beginning, or after `starting_after`, and those \
still to come: only for responses that are made in the background.
"""

CANCEL = "Ends a response that is being made in the background. One that has ended stays as it is."

COMPACT = """\
Makes a conversation shorter: the model's own summary stands for all but the user's messages. Send the output as the
beginning of the next request's `input`.
"""
INPUT_TOKENS = """\
How many tokens the model would read for this request, history and tools included, by the model's own tokenizer.
"""
