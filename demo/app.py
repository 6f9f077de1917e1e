"""The page of `vocalmtp chat` for a Hugging Face Space: python demo/app.py."""

from vocalmtp.cli import main

if __name__ == "__main__":
    main(["chat", "--host", "0.0.0.0", "--port", "7860"])
