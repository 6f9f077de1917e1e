"""The onnxruntime engine: the graphs of a model folder, and what runs them without torch."""
