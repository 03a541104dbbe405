"""Which archives each dataset is published in: addresses, sizes, hashes, and what they hold.

Only hashes that a publisher or a much-used loader gives are listed; the comment names it. The
others are None: then the length that the server announces is checked, and the checksums that a
zip has of each of its files.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Content(NamedTuple):
    """Files that an archive brings.

    Attributes:
        files: How many.
        places: Globs relative to the root; the first is where the archive unpacks to, the
            others are where people who have the dataset already may keep them.
    """

    files: int
    places: tuple[str, ...]


class Archive(NamedTuple):
    """A published archive.

    Attributes:
        name: File name.
        url: Where from; "" where only registered users may download it, by hand.
        size: Bytes; exact where there is a hash.
        unpacked: Bytes that its files need on disk, about.
        content: What the layout needs of it.
        hash: "algorithm:hexadecimal", or None where no source gives one.
        nested: Archives within it that are unpacked too, and then deleted.
    """

    name: str
    url: str
    size: int
    unpacked: int
    content: tuple[Content, ...]
    hash: str | None = None
    nested: tuple[str, ...] = ()


class Source(NamedTuple):
    """How to get a dataset.

    Attributes:
        archives: In the order in which they are fetched.
        top: Folder that the archives make in the root.
        after: Command that comes next.
        hint: What is not in the archives, or how to get them; "" where there is nothing to say.
    """

    archives: tuple[Archive, ...]
    top: str = ""
    after: str = "workbench data check"
    hint: str = ""


# Sizes and hashes of COCO: TensorFlow Datasets, url_checksums/coco.txt.
_COCO: Final = "http://images.cocodataset.org"
_TRAIN_2017: Final = Archive(
    name="train2017.zip",
    url=f"{_COCO}/zips/train2017.zip",
    size=19_336_861_798,
    unpacked=19_500_000_000,
    content=(Content(118_287, ("train2017/*.jpg", "images/train2017/*.jpg")),),
    hash="sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
)
_VAL_2017: Final = Archive(
    name="val2017.zip",
    url=f"{_COCO}/zips/val2017.zip",
    size=815_585_330,
    unpacked=830_000_000,
    content=(Content(5_000, ("val2017/*.jpg", "images/val2017/*.jpg")),),
    hash="sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
)
_PANOPTIC: Final = Archive(
    name="panoptic_annotations_trainval2017.zip",
    url=f"{_COCO}/annotations/panoptic_annotations_trainval2017.zip",
    size=860_725_834,
    unpacked=2_000_000_000,
    content=tuple(
        content
        for split, files in (("train", 118_287), ("val", 5_000))
        for content in (
            Content(1, (f"annotations/panoptic_{split}2017.json",)),
            Content(
                files,
                (f"annotations/panoptic_{split}2017/*.png", f"panoptic_{split}2017/*.png"),
            ),
        )
    ),
    hash="sha256:c05f76d2129b6b561eb70efe16e7006df62f73fb92889132d373b9d90e31a370",
    nested=("annotations/panoptic_train2017.zip", "annotations/panoptic_val2017.zip"),
)
# GluonCV gives two hashes for the stuff annotations, one for a file of 401 MB: the archive was
# replaced since, and no much-used loader has the hash of today's.
_STUFF: Final = Archive(
    name="stuff_annotations_trainval2017.zip",
    url=f"{_COCO}/annotations/stuff_annotations_trainval2017.zip",
    size=1_148_688_564,
    unpacked=3_000_000_000,
    content=tuple(
        Content(1, (f"annotations/stuff_{split}2017.json", f"stuff_{split}2017.json"))
        for split in ("train", "val")
    ),
)
# TensorFlow Datasets, datasets/lvis/checksums.tsv.
_LVIS: Final = tuple(
    Archive(
        name=f"lvis_v1_{split}.json.zip",
        url=f"https://dl.fbaipublicfiles.com/LVIS/lvis_v1_{split}.json.zip",
        size=size,
        unpacked=unpacked,
        content=(Content(1, (f"lvis_v1_{split}.json", f"annotations/lvis_v1_{split}.json")),),
        hash=f"sha256:{digest}",
    )
    for split, size, unpacked, digest in (
        (
            "train",
            350_264_821,
            1_200_000_000,
            "334a4caa374030a7817cf050364525e910f7960f9b6968cef47cffbf3893f8ba",
        ),
        (
            "val",
            64_026_968,
            220_000_000,
            "5cae9a3c79aadb667550c2b5dcf7f4d86e059a41ec91ef690225b667e28e9ba5",
        ),
    )
)

SOURCES: Final[dict[str, Source]] = {
    "ade20k": Source(
        archives=(
            Archive(
                name="ADEChallengeData2016.zip",
                url="http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
                size=967_382_037,
                unpacked=1_400_000_000,
                content=tuple(
                    Content(files, (f"ADEChallengeData2016/{kind}/{split}/*.{suffix}",))
                    for split, files in (("training", 20_210), ("validation", 2_000))
                    for kind, suffix in (("images", "jpg"), ("annotations", "png"))
                ),
                # TensorFlow Datasets, url_checksums/ade20k.txt.
                hash="sha256:7ff1be44964418441f542a7cc1e1a650e7dc0fc275f5d23252bc9bbdbc977b29",
            ),
        ),
        top="ADEChallengeData2016",
    ),
    "cityscapes": Source(
        archives=(
            Archive(
                name="leftImg8bit_trainvaltest.zip",
                url="",
                size=11_592_327_197,
                unpacked=11_700_000_000,
                content=(Content(5_000, ("leftImg8bit/*/*/*_leftImg8bit.png",)),),
            ),
            Archive(
                name="gtFine_trainvaltest.zip",
                url="",
                size=252_567_705,
                unpacked=1_200_000_000,
                content=(Content(5_000, ("gtFine/*/*/*_gtFine_labelIds.png",)),),
            ),
        ),
        hint="register at https://www.cityscapes-dataset.com",
    ),
    "coco-panoptic": Source(archives=(_PANOPTIC, _VAL_2017, _TRAIN_2017)),
    "coco-stuff10k": Source(
        archives=(
            Archive(
                name="cocostuff-10k-v1.1.zip",
                url="http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/"
                "cocostuff-10k-v1.1.zip",
                size=2_000_000_000,
                unpacked=2_500_000_000,
                content=(
                    Content(10_000, ("images/*.jpg",)),
                    Content(10_000, ("annotations/*.mat",)),
                    Content(1, ("imageLists/train.txt",)),
                    Content(1, ("imageLists/test.txt",)),
                ),
            ),
        ),
    ),
    "lvis-coco": Source(
        archives=(*_LVIS, _STUFF, _VAL_2017, _TRAIN_2017), after="workbench prepare"
    ),
    "voc": Source(
        archives=(
            Archive(
                name="VOCtrainval_11-May-2012.tar",
                url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                # TensorFlow Datasets, url_checksums/voc.txt.
                size=1_999_639_040,
                unpacked=2_100_000_000,
                content=(
                    Content(17_125, ("VOCdevkit/VOC2012/JPEGImages/*.jpg",)),
                    Content(2_913, ("VOCdevkit/VOC2012/SegmentationClass/*.png",)),
                    Content(3, ("VOCdevkit/VOC2012/ImageSets/Segmentation/*.txt",)),
                ),
                # torchvision, datasets/voc.py.
                hash="md5:6cd6e144f989b92b3379bac3b3de84fd",
            ),
        ),
        top="VOCdevkit/VOC2012",
        hint="the split train_aug needs VOCdevkit/VOC2012/SegmentationClassAug/*.png as well: the "
        "masks of the Semantic Boundaries Dataset (benchmark.tgz, dataset/cls/*.mat), which have "
        "no stable address as PNG",
    ),
}
"""Registry key -> where its files come from."""

INSTEAD: Final[dict[str, str]] = {
    "folder": "folder is your own data, there is nothing to download; put images/, masks/ and "
    "classes.csv into a folder and run: workbench data check folder FOLDER",
    "shapeworld": "shapeworld is generated, there is nothing to download; "
    "run: workbench sample shapeworld FOLDER",
}
"""Registry key -> what to do where there is nothing to download."""
