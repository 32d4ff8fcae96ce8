"""The languages of a checkpoint: one that is stated, or many, each told to the model by the number of its prompt."""

import re
from collections.abc import Mapping
from typing import Any

from runtime.errors import InputError
from runtime.languages import known_language

AUTOMATIC = "auto"
"""Where a checkpoint has it: the model finds out."""
USUAL = "en"
"""Of a checkpoint that says nothing and of which nothing is said."""
CODE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


def read_prompts(name: str, config: Mapping[str, Any]) -> dict[str, int] | None:
    """Numbers of prompts by language of a NeMo model configuration (`model_defaults` part); None for a model that is told no language.

    Raises InputError for prompts that the model would not take.
    """
    defaults = config.get("model_defaults") or {}
    if not str(config.get("target", "")).endswith("WithPrompt") or not defaults.get("initialize_prompt_feature"):
        return None
    prompts, most = dict(defaults.get("prompt_dictionary") or {}), int(defaults.get("num_prompts") or 128)
    wrong = [f"{key}: {value}" for key, value in prompts.items() if type(value) is not int or not 0 <= value < most]
    if wrong or not prompts:
        raise InputError(
            f"expected languages with prompts from 0 to {most - 1} in prompt_dictionary, found {wrong[0] if wrong else 'none'} in {name}; "
            f"fetch the checkpoint again"
        )
    return {str(language): number for language, number in prompts.items()}


def chosen_language(name: str, prompts: Mapping[str, int] | None, asked: str | None, before: str | None) -> str:
    """What a bundle's streams hear by default: the language asked for, else that of the bundle `before`, else the checkpoint's.

    The checkpoint's is AUTOMATIC where it has it, else its first; USUAL for one that is told no language, of which any can be stated.

    Raises InputError for what is no code, or none of the checkpoint's languages.
    """
    if not prompts:
        if asked is not None and not CODE.fullmatch(asked):
            raise InputError(f"expected a language's code such as en or de-DE, found {asked!r}; check LANGUAGE=")
        return asked or before or USUAL
    if asked is None:
        usual = AUTOMATIC if AUTOMATIC in prompts else next(iter(prompts))
        return before if before is not None and before in prompts else usual
    return known_language(asked, prompts, name)
