"""Formulas as MathML: browsers draw it themselves, so a page needs no script and no network."""

from docutils import nodes
from docutils.utils.math import latex2mathml


def markup(node, as_block):
    return latex2mathml.tex2mathml(node.astext(), as_block=as_block)


def inline(translator, node):
    translator.body.append(markup(node, as_block=False))
    raise nodes.SkipNode


def block(translator, node):
    translator.body.append(
        f'<div class="formula" role="group" aria-label="formula" tabindex="0">{markup(node, as_block=True)}</div>'
    )
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
