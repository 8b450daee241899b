"""What a template card costs more than a text: the worker's CPU time for one message, both measured in turns."""

from statistics import median

from benchmarks.measuring import durable, texts
from benchmarks.stage import SENDER, stage
from worker import SendRequest, TextNotice
from worker.messages import content_from_body

ROUNDS = 3


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return `card_cpu_ratio` and the two times behind it in microseconds."""
    sends = 1_000 if quick else 10_000
    ratios, card_costs, text_costs = [], [], []
    with stage() as running, running.worker() as worker:
        for turn in range(ROUNDS):
            _, text_cost = durable(running, worker, texts(f"text{turn}", sends))
            _, card_cost = durable(running, worker, cards(f"card{turn}", sends))
            text_costs.append(text_cost)
            card_costs.append(card_cost)
            ratios.append(card_cost / text_cost)
    return {
        "card_cpu_ratio": median(ratios),
        "card_cpu_us": median(card_costs) * 1e6,
        "text_cpu_us": median(text_costs) * 1e6,
    }


def cards(mark: str, sends: int) -> list[SendRequest]:
    """Return personalised cards of ordinary size to different members."""
    return [SendRequest(SENDER, card(number), users=[f"{mark}-{number}"]) for number in range(sends)]


def card(number: int) -> TextNotice:
    """Return a text_notice as a payroll would send it."""
    content = content_from_body(
        {
            "msgtype": "template_card",
            "template_card": {
                "card_type": "text_notice",
                "source": {"icon_url": "https://example.com/icon.png", "desc": "人事", "desc_color": 1},
                "main_title": {"title": f"工资单 {number} 已生成", "desc": "十一月"},
                "emphasis_content": {"title": str(number), "desc": "编号"},
                "sub_title_text": "请在五日内确认。",
                "horizontal_content_list": [
                    {"keyname": "发放日期", "value": "十一月二十五日"},
                    {"type": 1, "keyname": "网页版", "value": "打开", "url": "https://example.com/payslip"},
                ],
                "jump_list": [{"type": 1, "title": "常见问题", "url": "https://example.com/help"}],
                "card_action": {"type": 1, "url": f"https://example.com/payslip/{number}"},
            },
        }
    )
    assert isinstance(content, TextNotice)
    return content
