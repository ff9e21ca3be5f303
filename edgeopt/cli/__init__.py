"""The command line: parse, call one flow, render. One file per command, imported only when it runs."""
