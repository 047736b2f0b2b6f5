"""Beside a PACS: a node that receives, answers and sends, and the calls that pull and push. Nothing else connects."""
