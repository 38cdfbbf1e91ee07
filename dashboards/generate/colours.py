"""What a colour and a number mean, the same in all dashboards."""

from __future__ import annotations

GREEN, YELLOW, ORANGE, RED, GREY, BLUE = "green", "yellow", "orange", "red", "text", "blue"

STATE = {
    0: ("ok", GREEN),
    1: ("suspected", YELLOW),
    2: ("open", RED),
    3: ("recovering", ORANGE),
    4: ("unknown", GREY),
    5: ("paused", BLUE),
}
YES_IS_BAD = {0: ("no", GREEN), 1: ("yes", RED)}
YES_IS_GOOD = {0: ("no", RED), 1: ("yes", GREEN)}
ANY_IS_BAD = ((0.0, GREEN), (1.0, RED))
ANY_IS_WORTH_A_LOOK = ((0.0, GREEN), (1.0, YELLOW))
