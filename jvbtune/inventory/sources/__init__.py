"""Forms of inventories: each module recognises documents of its form, and reads the hosts of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jvbtune.inventory.document import Node
from jvbtune.inventory.found import Listing, Options
from jvbtune.inventory.sources import ansible, aws, gce, kubernetes, own, terraform


@dataclass(frozen=True)
class Form:
    """``made_by``: for messages."""

    recognises: Callable[[Any], bool]
    read: Callable[[Sequence[Node], Options], Listing]
    made_by: str


#: The order is that of recognising: the first that fits is taken.
FORMS: dict[str, Form] = {
    "terraform-show": Form(terraform.recognises_show, terraform.read_show, "terraform show -json"),
    "kubernetes": Form(kubernetes.recognises, kubernetes.read, "kubectl get nodes -o json"),
    "aws": Form(aws.recognises, aws.read, "aws ec2 describe-instances"),
    "gce": Form(gce.recognises, gce.read, "gcloud compute instances list --format json"),
    "ansible": Form(ansible.recognises, ansible.read, "ansible-inventory --list"),
    "terraform-output": Form(terraform.recognises_output, terraform.read_output, "terraform output -json"),
    "hosts": Form(own.recognises, own.read, "a list of objects with name and address"),
}


def known_forms() -> str:
    """For messages."""
    made_by = "; ".join(f"{name}: {one.made_by}" for name, one in FORMS.items())
    return f"Known forms: a jvbtune.toml; INI and YAML of Ansible; JSON of {made_by}."


def read_documents(documents: Sequence[Node], form: str | None, options: Options) -> list[Listing]:
    """The hosts of the documents of one source, each in ``form`` or in the one that it is recognised as. Empty ones
    have none. Raises ConfigError."""
    by_form: dict[str, list[Node]] = {}
    for document in documents:
        if document.value in ({}, []):
            continue
        kind = form or next((name for name, one in FORMS.items() if one.recognises(document.value)), None)
        if kind is None:
            raise document.fail("is not an inventory that jvbtune knows", known_forms())
        by_form.setdefault(kind, []).append(document)
    return [FORMS[kind].read(of_kind, options) for kind, of_kind in by_form.items()]
