"""The page in Gradio: pickers around the elements that assets/talk.js controls."""

import json
from html import escape
from pathlib import Path

from fastapi import FastAPI

from vocalmtp.chat.llm import Echo
from vocalmtp.server.state import ServerState

ECHO = Echo.name
NO_LLM = (
    "Without a language model, answers repeat your words; for one, run "
    "<code>vocalmtp get smollm2-135m whisper-tiny.en</code> and start again."
)
ASSETS = Path(__file__).parent / "assets"
HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="talk/assets/talk.css">
<script type="module" src="talk/assets/talk.js"></script>
"""


def mount_page(app: FastAPI, state: ServerState) -> FastAPI:
    """Mount the page at the root of `app`."""
    import gradio

    with gradio.Blocks(title="vocalmtp chat", analytics_enabled=False) as page:
        gradio.HTML((ASSETS / "talk.html").read_text(encoding="utf-8"))
        with gradio.Row(elem_id="talk-pickers"):
            voices = list(state.tts.voices)
            default = state.tts.find_voice(state.role or state.voice)
            name = default.name if default and default.name in voices else None
            voice = gradio.Dropdown(voices, value=name, label="Voice")
            choices = [("echo (repeats you)" if n == ECHO else n, n) for n in state.responders]
            responder = gradio.Dropdown(choices, value=choices[0][1], label="Answers by")
            role = gradio.Dropdown(
                [("none", ""), *((name, name) for name in state.roles)],
                value=state.role.name if state.role else "",
                label="Persona",
            )
        about = f"Speech recognition: {escape(state.recognizer.description)}."
        echoes = choices[0][1] == ECHO
        about += f" {NO_LLM}" if echoes else f" Language model: {escape(choices[0][1])}."
        gradio.HTML(f'<p id="talk-about">{about}</p>')
        for picker, name in ((voice, "voice"), (responder, "responder")):
            script = f"(value) => {{ window.vocalmtp.configure({{ {name}: value }}); }}"
            picker.change(fn=None, inputs=[picker], js=script)
        # A persona brings its voice, which may then be changed.
        script = f"""(role) => {{
          window.vocalmtp.configure({{ role }});
          return {json.dumps(_role_voices(state))}[role] ?? null;
        }}"""
        role.change(fn=None, inputs=[role], outputs=[voice], js=script)
    theme = gradio.themes.Default(
        primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"]
    )
    mounted: FastAPI = gradio.mount_gradio_app(
        app,
        page,
        path="/",
        head=HEAD,
        theme=theme,
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
    )
    return mounted


def _role_voices(state: ServerState) -> dict[str, str]:
    """Map every role, and "" for none, to the name of its voice."""
    voices = {"": state.voice, **{name: role.voice for name, role in state.roles.items()}}
    found = {name: state.tts.find_voice(voice) for name, voice in voices.items()}
    return {name: voice.name for name, voice in found.items() if voice}
