"""What is exchanged: SOP classes, roles and transfer syntaxes. The node and its conformance statement read this table.

UIDs are those of PS3.6 A; nothing here imports the network.
"""

from dataclasses import dataclass
from enum import StrEnum

VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"

IMAGES = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.4.4",
)
"""CT and MR Image Storage: plain, Enhanced, Legacy Converted Enhanced.

Nothing else is answered, so nothing else is taken."""

RESULTS = (
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.88.34",
    "1.2.840.10008.5.1.4.1.1.481.3",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.104.1",
)
"""Segmentation, Comprehensive 3D SR, RT Structure Set, Secondary Capture Image, Encapsulated PDF."""

SYNTAXES = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
)
"""Encodings that the reader decodes: explicit, implicit, big endian, deflated, JPEG lossless, JPEG-LS, 2000, RLE."""

ACSE_S, DIMSE_S, NETWORK_S = 30.0, 120.0, 120.0
"""Time-outs: an association to be negotiated, a DIMSE response, no data at all."""

UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


class Role(StrEnum):
    """Which side of a service we are."""

    SCU = "SCU"
    SCP = "SCP"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A row of the conformance statement: SOP classes, our role, encodings, and which command or part uses it."""

    title: str
    sop_classes: tuple[str, ...]
    role: Role
    syntaxes: tuple[str, ...]
    used_by: str


SERVICES = (
    Service(title="Verification", sop_classes=(VERIFICATION,), role=Role.SCP, syntaxes=UNCOMPRESSED, used_by="listen"),
    Service(title="Storage", sop_classes=IMAGES, role=Role.SCP, syntaxes=SYNTAXES, used_by="listen, pull"),
    Service(
        title="Storage Commitment Push Model",
        sop_classes=(COMMITMENT,),
        role=Role.SCP,
        syntaxes=UNCOMPRESSED,
        used_by="listen, on request of a peer",
    ),
    Service(
        title="Verification",
        sop_classes=(VERIFICATION,),
        role=Role.SCU,
        syntaxes=UNCOMPRESSED,
        used_by="listen --check",
    ),
    Service(title="Storage", sop_classes=RESULTS, role=Role.SCU, syntaxes=UNCOMPRESSED, used_by="listen"),
    Service(
        title="Storage, of any class that the files have",
        sop_classes=(),
        role=Role.SCU,
        syntaxes=(),
        used_by="push, in the encoding of each file",
    ),
    Service(
        title="Storage Commitment Push Model",
        sop_classes=(COMMITMENT,),
        role=Role.SCU,
        syntaxes=UNCOMPRESSED,
        used_by="listen, for destinations with `commitment: true`",
    ),
    Service(
        title="Study Root Query/Retrieve", sop_classes=(STUDY_FIND, STUDY_MOVE, STUDY_GET), role=Role.SCU,
        syntaxes=UNCOMPRESSED, used_by="pull",
    ),
)  # fmt: skip
