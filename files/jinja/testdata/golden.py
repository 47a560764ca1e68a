"""Renders every template here with Jinja2 as Hugging Face sets it up, and writes goldens.json.

    python golden.py        (Jinja2 3.1.6)
"""
import glob, json, os
from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

here = os.path.dirname(os.path.abspath(__file__))


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("mark")
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def mark(self, caller):
        return "\ue000" + caller() + "\ue001"


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception

user = lambda text: {"role": "user", "content": text}
assistant = lambda text: {"role": "assistant", "content": text}
system = lambda text: {"role": "system", "content": text}
weather = {"type": "function", "function": {"name": "weather", "description": "The weather of a city.", "parameters": {"city": {"type": "string"}}}}
call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}]}
conversations = {
    "one": dict(messages=[user(" Hello, wörld? ")]),
    "pair": dict(messages=[user("Hi"), assistant(" Hello! ")]),
    "system": dict(messages=[system("Be brief."), user("1+1?"), assistant("2"), user("And 2+2?"), assistant("4\n")]),
    "thinking": dict(messages=[user("a"), assistant("<think>\nhm\n</think>\n\nb"), user("c"), assistant("<think>\nho\n</think>\n\nd")]),
    "same role twice": dict(messages=[user("a"), user("b")]),
    "tools": dict(messages=[user("Weather?"), call, {"role": "tool", "content": "sunny"}, assistant("It is sunny.")], tools=[weather]),
}
out = []
for path in sorted(glob.glob(os.path.join(here, "*.jinja"))):
    template = env.from_string(open(path, encoding="utf-8", newline="").read())
    for name, variables in conversations.items():
        for prompt in (False, True):
            row = dict(template=os.path.basename(path), conversation=name, variables=dict(variables, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>"))
            try:
                marked = template.render(**row["variables"])
                text, spans = "", []
                for piece in marked.replace("\ue001", "\ue001\ue002").replace("\ue000", "\ue002\ue000").split("\ue002"):
                    bare = piece.strip("\ue000\ue001")
                    if piece.startswith("\ue000") and bare:
                        spans.append([len(text.encode()), len((text + bare).encode())])
                    text += bare
                row.update(text=text, spans=spans)
            except TemplateError as e:
                row["raised"] = str(e)
            except TypeError:
                row["raised"] = "type"
            out.append(row)
with open(os.path.join(here, "goldens.json"), "w", encoding="utf-8") as f:
    json.dump(out, f, ensure_ascii=False, indent=1)
print(len(out), "renderings")
