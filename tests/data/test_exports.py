"""Folders as other tools export them, with the labels and boxes that a person would read off them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.exports import BOX, EXPORTS, RECTANGLE, SPLIT, coco, labelme, tasks, voc
from wsdet.types import InputError


@pytest.mark.parametrize("name", sorted(EXPORTS))
def test_every_export_is_read_as_it_is_meant(files: Any, name: str, caplog: pytest.LogCaptureFixture) -> None:
    texts, of_a, of_b = EXPORTS[name]
    for path, text in texts.items():
        files.text(path, text)
    places = {"a": f"{of_a}/a.jpg".removeprefix("./"), "b": f"{of_b}/b.jpg".removeprefix("./")}
    for path in places.values():
        files.image(path)
    with caplog.at_level(logging.INFO):
        dataset = files.open("auto", test_fraction=0)
    by_name = {Path(i).stem: i for i in (*dataset.ids("train"), *dataset.ids("test"))}
    assert {image: dataset.path(by_name[image]) for image in "ab"} == {i: files.root / places[i] for i in "ab"}
    assert dataset.classes == ("cat", "dog")
    for image, label in (("a", 0), ("b", 1)):
        assert dataset.labels(by_name[image]) == (label,)
        assert dataset.truth[by_name[image]].xyxy.tolist() == [pytest.approx(BOX, abs=1e-4)]
    assert (by_name["b"] in dataset.ids("test")) == (name in SPLIT)
    assert caplog.text.count(" is read as ") == 1


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"000.cls": "1", "001.cls": "2"}, "looks like WebDataset"),
        ({"shard-000.tar": ""}, "looks like WebDataset"),
        ({"000.json": '{"label": 1}', "001.json": '{"label": 2}'}, "of a format that is not known"),
        ({"000.txt": "a cat on a mat", "001.txt": "a dog"}, "of a format that is not known"),
        ({"train.tfrecord-00000-of-00001": ""}, "looks like TFRecord"),
        ({"via.json": '{"000.jpg1": {"filename": "000.jpg", "regions": [{"shape_attributes": {}}]}}'}, "VIA"),
        ({"_annotations.createml.json": '[{"image": "0", "annotations": [{"coordinates": {}}]}]'}, "CreateML"),
        ({"annotations.xml": "<annotations><track id='0' label='cat'/></annotations>"}, "CVAT's format for video"),
        ({"labels.csv": "000.jpg,3\n001.jpg,4\n"}, "the classes that its CSV file gives are numbers, 3, 4"),
        ({"boxes.txt": "0 .5 .5 .2 .2\n"}, "YOLO's format, but nothing that names the classes"),
        ({"labelTxt/000.txt": "1 1 9 1 9 9 1 9 cat 0\n", "data.yaml": "train: .\nnames: [cat]"}, "looks like DOTA"),
        ({"labels/000.txt": "cat 0.0 0 0.0 1.0 1.0 9.0 9.0" + " 0.0" * 7}, "looks like KITTI"),
        ({"data/train-00000-of-00001.parquet": "PAR1"}, "looks like Parquet of Hugging Face"),
        ({"metadata.jsonl": '{"file_name": "000.jpg"}'}, r"imagefolder with a metadata\.jsonl"),
        ({"default.json": '{"categories": {}, "items": [{"annotations": [{"label_id": 0}]}]}'}, "looks like Datumaro"),
        ({"ann/0.json": '{"objects": [{"classTitle": "cat"}]}'}, "looks like Supervisely"),
        ({"export.json": '[{"data_row": {"external_id": "000.jpg"}, "projects": {}}]'}, "looks like Labelbox"),
        ({"export.json": '[{"External ID": "000.jpg", "Label": {}}]'}, "looks like Labelbox"),
        ({"labels.json": '{"classes": ["cat"], "labels": {"000": 0}}'}, "looks like FiftyOne's own JSON"),
        ({"bdd.json": '[{"name": "000.jpg", "labels": [{"category": "car", "box2d": {}}]}]'}, "looks like Scalabel"),
        ({"annotation_train.odgt": '{"ID": "000", "gtboxes": []}'}, "looks like CrowdHuman"),
        ({"cars_annos.mat": "MATLAB 5.0"}, "looks like annotations in MATLAB's"),
        ({"output.manifest": '{"source-ref": "s3://b/000.jpg"}'}, "looks like SageMaker"),
        ({"split/wider_face_train_bbx_gt.txt": "000.jpg\n1\n1 1 9 9\n"}, "looks like WIDER FACE"),
        ({"gt/gt.txt": "1,1,1,1,9,9,1,1,1\n"}, "looks like MOT"),
        ({"gtFine/train/x/0_polygons.json": '{"objects": []}'}, "looks like Cityscapes"),
        ({"via.csv": "filename,region_id,region_shape_attributes\n000.jpg,0,{}\n"}, "CSV file of VGG Image Annotator"),
        ({"x.csv": 'image,label\n000.jpg,"[{""x"": 1}]"\n'}, "holds JSON in its cells, as Label Studio's CSV does"),
        ({"x.csv": "image,age,camera\n000.jpg,3,canon\n"}, "which of its columns age, camera has the labels"),
        ({"x.csv": 'image_id,width,bbox\n000,20,"[1, 1, 8, 8]"\n'}, "which of its columns width, bbox has the labels"),
        (
            {"x.csv": "image,PredictionString\n000.jpg,cat 1.0 1 1 9 9\n"},
            "the classes that its CSV file gives are numbers",
        ),
        ({"x.csv": "ImageId,EncodedPixels\n000.jpg,1 3 20 3\n"}, "the classes that its CSV file gives are numbers"),
        ({"x.csv": "TRAIN,gs://b/000.jpg,cat,0.1,0.1\n"}, "names an image in column 2 of its first row"),
        (
            {"_annotations.txt": "000.jpg 1,1,9,9,0\n", "_classes.txt": "cat"},
            r"_annotations\.txt names images, in a format",
        ),
        ({"default.txt": "000.jpg 0\n001.jpg 1\n"}, r"default\.txt names images, in a format that is not known"),
        ({"ImageSets/Main/train.txt": "000\n"}, "none of the images in its lists has an annotation"),
        ({"x.csv": "image,class_id\n000.jpg,0\n001.jpg,1\n"}, "CSV file gives are numbers, 0, 1"),
        ({"a.json": coco("000.jpg", image_id=7)}, "none of its 1 annotations has the image_id of an image"),
        ({"data.yaml": "train: .\nnames: [cat]\n"}, "none of its images has a label file in YOLO's format"),
    ],
)
def test_what_is_not_read_is_refused_by_name(files: Any, made: dict[str, str], says: str) -> None:
    for name in ("000.jpg", "001.jpg"):
        files.image(name)
    for path, text in made.items():
        files.text(path, text)
    with pytest.raises(InputError, match=says):
        files.open("auto")


@pytest.mark.parametrize("layout", ["labelme", "voc_folder"])
def test_an_annotation_is_not_its_own_image(files: Any, layout: str) -> None:
    files.text("a.json", labelme("cat", [[8, 4], [12, 6]], image="a.jpg")) if layout == "labelme" else files.text(
        "a.xml", voc("cat")
    )
    with pytest.raises(InputError, match="names 1 images and none of them is there, 'a' for one"):
        files.open("auto")


def test_other_files_beside_folders_of_classes_are_no_format(files: Any) -> None:
    for path in ("cat/1.jpg", "dog/2.jpg"):
        files.image(path)
    for path in ("proposals.mat", "features.h5", "cat/metadata.jsonl", "out.manifest"):
        files.text(path, "1.jpg")
    files.text("settings.json", '{"classes": [], "labels": []}')
    assert files.open("auto").classes == ("cat", "dog")


def test_what_a_run_left_among_the_images_names_them_and_is_no_annotation(files: Any) -> None:
    files.image("a.jpg")
    for path in ("run/.lock", "run/failed.json"):
        files.text(path, '{"a.jpg": "broken"}')
    assert files.open("auto", test_fraction=0).ids("train") == ("a.jpg",)


def test_columns_of_boxes_that_are_not_read_are_named(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    files.image("a.jpg")
    files.text("labels.csv", 'image,class,bbox\na.jpg,cat,"[1, 1, 8, 8]"\n')
    dataset = files.open("auto", test_fraction=0)
    assert (dataset.classes, dataset.labels("a.jpg"), len(dataset.truth)) == (("cat",), (0,), 0)
    assert "boxes are not read from the columns bbox" in caplog.text


def test_a_group_of_open_images_is_a_label_and_a_difficult_box(files: Any) -> None:
    for name in "ab":
        files.image(f"{name}.jpg")
    header = "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
    files.text(
        "train-annotations-bbox.csv", f"{header}a,/m/1,1,.4,.6,.4,.6,0\na,/m/2,1,0,1,0,1,1\nb,/m/2,1,0,1,0,1,0\n"
    )
    dataset = files.open("auto", test_fraction=0)
    assert dataset.labels("a.jpg") == (0, 1)
    assert dataset.truth["a.jpg"].difficult.tolist() == [False, True]


@pytest.mark.parametrize("counts", ["~", "\x00", "o" * 40, "", "a", [1, float("inf")], [float("nan")], [1e300, 1]])
def test_masks_that_are_none_cost_their_image(files: Any, counts: Any) -> None:
    files.image("images/a.jpg")
    files.image("images/b.jpg")
    content = json.loads(coco("a.jpg", "b.jpg"))
    content["annotations"][0] |= {"bbox": [], "segmentation": {"size": [10, 20], "counts": counts}}
    files.text("result.json", json.dumps(content))
    dataset = files.open("auto", test_fraction=0)
    assert dataset.labels("images/b.jpg") == (1,)
    with suppress(InputError):
        assert dataset.truth.get("images/a.jpg") is None


@pytest.mark.parametrize(
    "folders",
    [["images"], ["data"], ["obj_train_data"], ["images", "masks"], ["JPEGImages"], ["img1"], ["WIDER_train"]],
)
def test_folders_of_images_are_no_classes(files: Any, folders: list[str]) -> None:
    for folder in folders:
        files.image(f"{folder}/1.jpg")
    files.text("notes.md", "")
    with pytest.raises(
        InputError, match=rf"{folders[0]}.* are no classes but folders of images.*data\.root=.*{folders[0]}"
    ):
        files.open("auto")


def test_an_archives_folder_is_entered(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("pets/cat/1.jpg", "pets/dog/2.jpg", "__MACOSX/pets/cat/1.jpg"):
        files.image(path)
    with caplog.at_level(logging.INFO):
        assert files.open("auto").classes == ("cat", "dog")
    assert f"is read as Folder, root={files.root / 'pets'}" in caplog.text


def test_a_folder_without_permission_is_named(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may read every folder, so the refusal comes from a stand-in for the system's."""
    from os import scandir

    files.image("cat/1.jpg")
    files.image("dog/2.jpg")

    def refusing(path: Any) -> Any:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
    with pytest.raises(InputError, match=r"dog cannot be read: Permission denied; .*make it readable"):
        files.open("folder")


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("PNG", lambda source, path: path.write_bytes(source.read_bytes())),
        ("PNG", lambda source, path: Image.open(source).save(path, format="PNG", compress_level=1)),
        ("PNG", lambda source, path: Image.open(source).save(path, format="BMP")),
        ("JPEG", lambda source, path: path.write_bytes(with_comment(source.read_bytes()))),
    ],
    ids=["bytes", "compressed anew", "another format", "other metadata"],
)
def test_the_same_photo_in_two_folders_has_both_labels(
    files: Any, first: str, again: Callable[[Path, Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    source = files.image("cat/1.jpg")
    Image.open(source).save(source, format=first)
    files.image("dog/2.jpg")
    files.image("cat/3.jpg")
    again(source, files.root / "dog/1.jpg")
    dataset = files.open("folder")
    assert dataset.labels("cat/1.jpg") == dataset.labels("dog/1.jpg") == (0, 1)
    assert (dataset.labels("dog/2.jpg"), dataset.labels("cat/3.jpg")) == ((1,), (0,))
    assert ("cat/1.jpg" in dataset.ids("train")) == ("dog/1.jpg" in dataset.ids("train"))
    assert "1 photos lie in the folders of several classes; each copy has the labels of all: 'cat/1.jpg'" in caplog.text


def with_comment(jpeg: bytes) -> bytes:
    """A JPEG with a comment before its pixels."""
    return jpeg[:2] + b"\xff\xfe\x00\x06note" + jpeg[2:]


def test_images_that_only_look_alike_are_two(files: Any) -> None:
    """The same size, the same name and nearly the same pixels."""
    pixels = np.zeros((10, 20, 3), np.uint8)
    for folder, value in (("cat", 0), ("dog", 1)):
        pixels[5, 5] = value
        (files.root / folder).mkdir()
        Image.fromarray(pixels).save(files.root / folder / "1.png")
    dataset = files.open("folder")
    assert [dataset.labels(f"{name}/1.png") for name in ("cat", "dog")] == [(0,), (1,)]


@pytest.mark.parametrize("layout", ["coco", "voc_folder", "cvat", "label_studio", "labelme"])
def test_a_broken_annotation_costs_one_image(files: Any, layout: str) -> None:
    """The first object gets a corner that is no number, or its file is cut short; the rest is read."""
    files.layouts[layout]()
    path = {
        "coco": "annotations/instances_train2017.json",
        "voc_folder": "train/1.xml",
        "cvat": "annotations.xml",
        "label_studio": "tasks.json",
        "labelme": "train/1.json",
    }[layout]
    text = (files.root / path).read_text()
    good = {"coco": "[1.5, 2,", "cvat": '"1.5"', "label_studio": '"x": 25', "labelme": "[11.5, 5]"}.get(layout, "")
    text = text.replace(good, re.sub(r"[\d.]+", "wide" if layout == "cvat" else '"wide"', good, count=1))
    files.text(path, text[: len(text) // 2] if layout == "voc_folder" else text)
    dataset = files.open(layout)
    (bad,) = (i for i in dataset.ids("train") if i.endswith("1.jpg"))
    assert dataset.labels(bad) == ()
    for read in (dataset.load, dataset.truth.__getitem__):
        with pytest.raises(InputError):
            read(bad)
    assert all(len(dataset.load(i).labels) == 1 for i in dataset.ids("test"))


def test_what_is_wrong_with_boxes_is_counted(files: Any, caplog: pytest.LogCaptureFixture) -> None:
    files.image("a.jpg")
    files.image("b.jpg")
    rows = "a.jpg,20,10,cat,1,1,9,9\na.jpg,20,10,dog,3,3,3,9\na.jpg,20,10,dog,30,3,40,9\nb.jpg,40,20,dog,0,0,20,10\n"
    files.text("labels.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n" + rows)
    files.open("auto", test_fraction=0)
    assert "2 boxes are left out (of 2 images that were looked at)" in caplog.text
    assert "1 images have another size than their annotation says" in caplog.text


@pytest.mark.parametrize("rotation", ["1e999", "NaN", "-1e999"])
def test_a_turn_that_is_no_angle_costs_the_box(files: Any, rotation: str) -> None:
    files.image("images/a.jpg")
    files.text(
        "tasks.json",
        tasks(("a.jpg", RECTANGLE | {"rectanglelabels": ["cat"]})).replace('tion": 0', f'tion": {rotation}'),
    )
    dataset = files.open("label_studio", test_fraction=0)
    assert dataset.labels("images/a.jpg") == (0,)
    with pytest.raises(InputError, match="is not finite"):
        dataset.truth["images/a.jpg"]
