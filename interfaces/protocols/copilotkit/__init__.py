"""CopilotKit without its runtime: its routes over AG-UI's encoder and runs, which it speaks."""
