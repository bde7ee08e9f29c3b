"""Evaluates a typed formula: numbers, given variables, + - * / **, log (or ln), exp, sqrt, abs and pi."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

from vaelab.cli import LabError

OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
FUNCTIONS: dict[str, Callable] = {
    "log": math.log,
    "ln": math.log,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "abs": abs,
}
MAX_POWER = 20  # of an exponent: a larger one could take forever


def parse(text: str) -> ast.expr:
    """The formula as a tree. Raises: LabError if it isn't one. `^` is read as a power."""
    try:
        return ast.parse(text.replace("^", "**").strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = getattr(error, "offset", None) or 1
        raise LabError(
            "'{text}' is not a formula, at '{rest}': write it as in Python, as log(a / b) + 2 * c**2",
            text=text,
            rest=text.replace("^", "**").strip()[place - 1 :],
        ) from error


def value_of(node: ast.expr, variables: Mapping[str, float]) -> float:
    """The value of a formula. Raises: LabError for an unknown name or anything that is not arithmetic."""
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            return float(value)
        case ast.Name(id="pi"):
            return math.pi
        case ast.Name(id=name):
            if name not in variables:
                raise LabError(
                    "{name} is unknown: the variables are {names}", name=name, names=", ".join(variables)
                )
            return variables[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            first, second = value_of(left, variables), value_of(right, variables)
            if isinstance(op, ast.Pow) and abs(second) > MAX_POWER:
                raise LabError("an exponent must be from -20 to 20, got {value:g}", value=second)
            return OPERATORS[type(op)](first, second)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](value_of(operand, variables))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](value_of(argument, variables))
    raise LabError(
        "'{part}' can't be used: a formula has numbers, the variables {names}, + - * / ** and log, exp, "
        "sqrt, abs, pi",
        part=ast.unparse(node),
        names=", ".join(variables),
    )


def evaluate(text: str, variables: Mapping[str, float]) -> float:
    """The value of a typed formula. Raises: LabError that says what is wrong with it."""
    try:
        value = value_of(parse(text), variables)
        if isinstance(value, complex) or not math.isfinite(value):
            raise ValueError("the result is not a real number")
        return value
    except (ArithmeticError, ValueError, RecursionError) as error:
        given = ", ".join(f"{name} = {value:g}" for name, value in variables.items())
        raise LabError(
            "the formula has no value at {given}: {error}", given=given, error=str(error)
        ) from error
