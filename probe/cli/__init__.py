"""The command line: click, one small file a command or group of commands, and no logic of the field."""
