"""Source code with one of its checks taken away, to see whether any test misses it."""

import ast


def checks(source: str) -> list[int]:
    """Lines of the conditions that end in a refusal or a reason for one, and of the calls that only check."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if _refuses(node) or _only_checks(node)]


def without(source: str, line: int) -> str:
    """The source in which the check of one line never refuses."""

    class Blind(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST:
            self.generic_visit(node)
            if node.lineno == line and _refuses(node):
                node.test = ast.Constant(False)
            return node

        def visit_Expr(self, node: ast.Expr) -> ast.AST:
            return ast.Pass() if node.lineno == line and _only_checks(node) else node

    return ast.unparse(ast.fix_missing_locations(Blind().visit(ast.parse(source))))


def _refuses(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and any(
        isinstance(inner, ast.Raise | ast.Yield) for inner in ast.walk(node)
    )


def _only_checks(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    called = node.value.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name.lstrip("_").startswith("check")
