# SPDX-License-Identifier: GPL-3.0-or-later
"""Bar charts as SVG, without a library: groups of bars, one bar a series, whiskers from the smallest to the largest."""
from xml.sax.saxutils import escape

COLOURS = ["#1f6f8b", "#58a4b0", "#c44536", "#8d6a9f", "#e0a458", "#6b705c"]
WIDTH, HEIGHT = 900, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 80


def scale_of(highest):
    """A round number not below the highest value, and the step of its grid."""
    step = 1.0
    while step * 5 < highest:
        step *= 10
    while step * 5 / 2 >= highest and step > 1e-9:
        step /= 2
    lines = 1
    while lines * step < highest:
        lines += 1
    return lines * step, step


def bar_chart(title, unit, groups, series):
    """`series`: name → one (median, low, high) a group. The SVG text."""
    top, step = scale_of(max(high for values in series.values() for _, _, high in values) or 1)
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def y(value):
        return TOP + inner_height * (1 - value / top)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
           'font-size="12">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
           f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
           f'<text x="{LEFT - 8}" y="{TOP - 10}" text-anchor="end">{escape(unit)}</text>']
    value = 0.0
    while value <= top * 1.0001:
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#dddddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
        value += step
    slot = inner_width / len(groups)
    bar = slot * 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        for group, (median, low, high) in enumerate(values):
            x = LEFT + group * slot + slot * 0.1 + number * bar
            middle = x + bar / 2
            out.append(f'<rect x="{x:.1f}" y="{y(median):.1f}" width="{bar * 0.92:.1f}" '
                       f'height="{y(0) - y(median):.1f}" fill="{colour}"><title>{escape(name)}, '
                       f'{escape(groups[group])}: {median:.3g} [{low:.3g} – {high:.3g}]</title></rect>')
            out.append(f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}" '
                       'stroke="#222222"/>')
        x = LEFT + number * inner_width / len(series)
        out.append(f'<rect x="{x:.1f}" y="{HEIGHT - 30}" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{x + 18:.1f}" y="{HEIGHT - 20}">{escape(name)}</text>')
    for group, name in enumerate(groups):
        out.append(f'<text x="{LEFT + (group + 0.5) * slot:.1f}" y="{HEIGHT - BOTTOM + 20}" '
                   f'text-anchor="middle">{escape(name)}</text>')
    return "\n".join(out + ["</svg>", ""])
