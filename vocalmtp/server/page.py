"""The page itself, in Gradio: pickers around what assets/talk.js brings to life."""

import json
from html import escape
from pathlib import Path

from fastapi import FastAPI

from vocalmtp.server.state import ServerState

ASSETS = Path(__file__).parent / "assets"

HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="talk/assets/talk.css">
<script type="module" src="talk/assets/talk.js"></script>
"""


def mount_page(app: FastAPI, room: ServerState) -> FastAPI:
    """Put the page at the root of `app`."""
    import gradio

    with gradio.Blocks(title="Talk to vocalmtp", analytics_enabled=False) as page:
        gradio.HTML((ASSETS / "talk.html").read_text(encoding="utf-8"))
        with gradio.Row(elem_id="talk-pickers"):
            voices = list(room.tts.voices)
            first = room.tts.find_voice(room.role or room.voice)
            name = first.name if first and first.name in voices else None
            voice = gradio.Dropdown(voices, value=name, label="Voice")
            mode = gradio.Dropdown(list(room.answerers), label="Who answers")
            nobody = ("nobody in particular", "")
            role = gradio.Dropdown(
                [nobody, *((name, name) for name in room.roles)],
                value=room.role.name if room.role else "",
                label="As",
            )
        gradio.HTML(f'<p id="talk-ear">Ear: {escape(room.ear.description)}. Esc interrupts.</p>')
        for picker, name in ((voice, "voice"), (mode, "mode")):
            script = f"(value) => {{ window.vocalmtp.configure({{ {name}: value }}); }}"
            picker.change(fn=None, inputs=[picker], js=script)
        # A role brings its voice, which may then be changed.
        own = {"": room.voice, **{name: card.voice for name, card in room.roles.items()}}
        own = {name: found.name for name, one in own.items() if (found := room.tts.find_voice(one))}
        script = f"""(role) => {{
          window.vocalmtp.configure({{ role }});
          return {json.dumps(own)}[role] ?? null;
        }}"""
        role.change(fn=None, inputs=[role], outputs=[voice], js=script)
    theme = gradio.themes.Default(
        primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"]
    )
    return gradio.mount_gradio_app(
        app,
        page,
        path="/",
        head=HEAD,
        theme=theme,
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
    )
