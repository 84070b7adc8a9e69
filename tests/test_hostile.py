"""The inventory of hostile and broken input: every kind with the test that feeds it, and what had no other home."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsdet.cli.build import build, check_parts
from wsdet.cli.entry_point import compose
from wsdet.cli.factories import experiment_of
from wsdet.data.folder import Folder
from wsdet.data.images import read_image
from wsdet.localizers.constant_boxes import CenterBox
from wsdet.stages.localize import localize
from wsdet.storage.box_store import BoxStore
from wsdet.types import InputError

TESTS = Path(__file__).parent

# kind of input -> the test that gives it to the code and says what has to come of it
INVENTORY = {
    # image files
    "zero-byte image": "data/test_images.py::test_what_is_no_whole_image_is_an_input_error",
    "truncated JPEG": "data/test_images.py::test_what_is_no_whole_image_is_an_input_error",
    "PNG with its pixels cut off": "data/test_images.py::test_what_is_no_whole_image_is_an_input_error",
    "image of no pixels": "data/test_images.py::test_what_is_no_whole_image_is_an_input_error",
    "text renamed to .jpg": "data/test_images.py::test_what_is_no_whole_image_is_an_input_error",
    "SVG, PostScript or PDF renamed to .jpg": "data/test_images.py::test_what_is_no_whole_image_is_an_input_error",
    "PNG renamed to .jpg": "data/test_images.py::test_the_suffix_does_not_matter",
    "flipped bytes in a JPEG": "data/test_images.py::test_a_damaged_jpeg_is_pixels_or_an_input_error",
    "CMYK JPEG": "data/test_images.py::test_a_cmyk_jpeg_is_red_as_it_looks",
    "16-bit gray": "data/test_images.py::test_every_mode_becomes_rgb",
    "1-bit": "data/test_images.py::test_every_mode_becomes_rgb",
    "alpha": "data/test_images.py::test_every_mode_becomes_rgb",
    "palette with a transparent color": "data/test_images.py::test_a_transparent_palette_color_is_white",
    "floating-point or 32-bit pixels": "data/test_images.py::test_pixels_without_a_range_are_refused",
    "1 x 1 image": "data/test_images.py::test_one_pixel_and_a_very_wide_image",
    "20,000 pixels wide image": "data/test_images.py::test_one_pixel_and_a_very_wide_image",
    "decompression bomb": "data/test_images.py::test_a_decompression_bomb_is_refused_from_its_header",
    "more pixels than allowed": "data/test_images.py::test_the_limit_is_an_argument",
    "each EXIF orientation": "data/test_images.py::test_orientation_turns_the_image_upright",
    "broken EXIF": "data/test_images.py::test_broken_metadata_costs_nothing",
    "animated GIF": "data/test_images.py::test_an_animation_gives_its_first_frame",
    "missing image": "data/test_images.py::test_what_is_no_file_is_an_input_error",
    "folder named as an image": "data/test_images.py::test_what_is_no_file_is_an_input_error",
    "pipe named as an image": "data/test_images.py::test_what_is_no_file_is_an_input_error",
    "name too long, or with NUL": "data/test_images.py::test_a_name_that_no_file_can_have_is_an_input_error",
    "link to nothing, or to itself": "test_hostile.py::test_a_link_that_leads_nowhere",
    "image that has vanished": "data/test_contract.py::test_one_bad_image_costs_itself_and_names_its_file",
    "video that is none": "data/test_video.py::test_what_is_no_video_is_an_input_error",
    # names
    "names with spaces, quotes, newlines, non-ASCII": "data/test_folder.py::test_any_file_name",
    "name that is not UTF-8": "data/test_folder.py::test_what_is_left_out",
    "hidden files, links to folders": "data/test_folder.py::test_what_is_left_out",
    "../, absolute or NUL in a VOC list": "data/test_voc.py::test_a_name_never_leaves_the_folder",
    "../, absolute or NUL in a CSV": "data/test_csv_file.py::test_a_name_never_leaves_the_folder",
    "../ in COCO's file_name": "data/test_coco.py::test_json_that_is_not_coco_is_refused",
    "../ in a YOLO list": "data/test_yolo.py::test_a_list_never_leaves_the_folder",
    "../ in the name of a proposal file": "proposals/test_files.py::test_image_ids_do_not_leave_the_folder",
    "names that would leave an export": "test_export.py::test_untrusted_names_stay_in_the_folder",
    "names that are HTML": "report/test_page.py::test_hostile_names_stay_text",
    "class names that are YAML": "formats/test_yolo.py::test_class_names_are_text_whatever_they_look_like",
    "names that XML cannot hold": "formats/test_cvat.py::test_what_xml_cannot_hold_does_not_break_it",
    # XML
    "XML that is cut off, empty or binary": "data/test_voc.py::test_a_bad_annotation_costs_one_image",
    "XML with entity expansion": "data/test_voc.py::test_a_bad_annotation_costs_one_image",
    "XML with an external entity or document type": "data/test_voc.py::test_a_bad_annotation_costs_one_image",
    "XML without a box, without a name": "data/test_voc.py::test_a_bad_annotation_costs_one_image",
    "XML with an unknown class": "data/test_voc.py::test_a_bad_annotation_costs_one_image",
    "XML of 17 MB": "data/test_voc.py::test_a_huge_annotation_is_not_read",
    "XML 100,000 elements deep": "data/test_voc.py::test_deep_nesting_is_harmless",
    # boxes
    "NaN and infinite corners": "data/test_voc.py::test_a_bad_box_costs_itself",
    "inverted box": "data/test_voc.py::test_a_bad_box_costs_itself",
    "box of no area": "data/test_voc.py::test_a_bad_box_costs_itself",
    "box outside the image": "data/test_voc.py::test_a_bad_box_costs_itself",
    "corner that is no number": "data/test_voc.py::test_what_is_no_box_costs_the_truth_of_its_image",
    "negative corner, box partly outside": "data/test_voc.py::test_boxes_partly_outside_are_clipped",
    "box of a line in Tiny ImageNet": "data/test_contract.py::test_true_boxes_lie_in_their_images_and_have_a_class",
    # lists
    "image listed twice": "data/test_voc.py::test_an_image_listed_twice_comes_once",
    "image in both splits": "data/test_voc.py::test_an_image_in_both_splits_is_refused",
    "annotation of a missing image": "data/test_voc.py::test_a_missing_image_costs_its_truth_and_itself",
    "class list that is malformed": "data/test_voc.py::test_a_malformed_list_of_a_class_is_refused",
    "class names that repeat or are blank": "data/test_voc.py::test_classes_must_be_unique_names",
    # COCO
    "no JSON, or JSON nested 100,000 deep": "data/test_coco.py::test_what_is_no_json_object_is_refused",
    "COCO annotations of images it does not list": "data/test_coco.py::test_annotations_of_missing_images_are_counted",
    "COCO with wrong, repeated or missing ids": "data/test_coco.py::test_a_bad_image_entry_costs_itself",
    "COCO with crowds and float boxes": "data/test_coco.py::test_known_answers",
    "COCO boxes of three numbers, text or 10**400": "data/test_coco.py::test_a_bad_entry_costs_its_image",
    "corner that is finite, but not as float32": "data/test_coco.py::test_a_bad_entry_costs_its_image",
    "COCO image listed twice": "data/test_coco.py::test_an_image_listed_twice_has_all_its_annotations",
    "COCO splits of different categories": "data/test_coco.py::test_splits_are_joined_by_the_names_of_categories",
    # CSV and YOLO
    "CSV that is empty, unquoted or Latin-1": "data/test_csv_file.py::test_a_file_gone_wrong_is_refused",
    "CSV label that is no class": "data/test_csv_file.py::test_given_classes_fix_the_order_and_refuse_others",
    "YAML with Python objects, or that is no YAML": "data/test_yolo.py::test_a_data_yaml_gone_wrong_is_refused",
    "YAML of nested aliases": "data/test_yolo.py::test_nested_aliases_are_harmless",
    "YOLO class out of range": "data/test_yolo.py::test_a_bad_class_costs_one_image",
    "YOLO row of too few numbers": "data/test_yolo.py::test_a_row_that_is_none_costs_the_truth_of_one_image",
    "folders that are splits, not classes": "data/test_folder.py::test_splits_that_are_not_named_are_noticed",
    "several layouts that could be meant": "data/test_auto.py::test_what_is_not_clear_is_asked",
    # files of boxes, stores
    "MAT, NPZ or JSON that is none": "proposals/test_files.py::test_files_that_are_not_what_they_say",
    "truncated MAT": "proposals/test_files.py::test_a_truncated_mat_is_an_error_of_input",
    "pickled objects in an NPZ": "proposals/test_files.py::test_pickled_objects_are_not_loaded",
    "zip bomb": "proposals/test_files.py::test_a_zip_bomb_is_not_unpacked",
    "checkpoint that is small, and large in memory": "networks/test_weights.py::test_a_small_file_stays_small",
    "file of tensors that is damaged": "storage/test_tensors.py::test_damaged_files_are_named",
    "tensors that are not finite": "storage/test_tensors.py::test_what_is_not_finite_is_neither_written_nor_read",
    "damaged part of a store": "storage/test_box_store.py::test_a_damaged_part_is_named_with_the_remedy",
    "store with NaN, nulls, uneven or wrong columns": (
        "storage/test_foreign_stores.py::test_what_is_no_box_is_refused_by_name"
    ),
    "store of few bytes and very many boxes": (
        "storage/test_foreign_stores.py::test_few_bytes_that_stand_for_very_many_boxes_are_refused"
    ),
    "part of another store": "storage/test_foreign_stores.py::test_a_part_of_another_store_is_noticed",
    "damaged settings of a store": "storage/test_box_store.py::test_damaged_settings_are_named",
    "store of other settings": "storage/test_box_store.py::test_other_settings_are_refused_by_the_first_key",
    # checkpoints
    "checkpoint with code in it": "networks/test_backbones.py::test_code_in_a_checkpoint_is_not_run",
    "checkpoint of the wrong shape, or of another network": (
        "networks/test_backbones.py::test_other_networks_weights_are_refused_and_change_nothing"
    ),
    "truncated checkpoint": "networks/test_backbones.py::test_truncated_files",
    "checkpoint without tensors": "networks/test_backbones.py::test_checkpoint_without_tensors",
    "checkpoint that describes itself wrongly": "networks/test_backbones.py::test_damaged_description",
    "detector whose model.json names code to run": "test_detect.py::test_a_detector_cannot_name_code_to_run",
    "detector whose network is no name, or far larger than its file": (
        "detectors/neural/test_detector.py::test_a_changed_description_is_refused"
    ),
    "damaged archive of corrections": "test_corrections.py::test_a_damaged_archive_is_an_input_error_or_is_read",
    "damaged judgments": "report/test_review_page.py::test_damaged_judgments_are_named",
    "run whose config names code or has Hydra's keys": (
        "test_corrections.py::test_an_untrusted_run_builds_nothing_that_is_not_ours"
    ),
    "CSV rows of other lengths": "data/test_csv_file.py::test_a_short_row_without_a_header_costs_itself",
    # files of any kind
    "pipe, socket, folder, or link to a device in place of a file": (
        "storage/test_untrusted.py::test_only_regular_files_are_opened_and_nothing_waits"
    ),
    "file of a terabyte": "storage/test_untrusted.py::test_larger_files_are_refused_before_they_are_read",
    "JSON that is deep, or has half of a surrogate pair": "storage/test_untrusted.py::test_json_beyond_the_limits",
    "YAML that is deep, or grows by its aliases": "storage/test_untrusted.py::test_yaml_beyond_the_limits",
    # the machine, and what was asked for
    "full disk": "storage/test_killed_stores.py::test_a_full_disk_is_named_and_loses_nothing",
    "folder that cannot be written": "storage/test_lock.py::test_a_command_says_both_before_any_work",
    "second process on a run folder": "storage/test_lock.py::test_the_second_process_is_told_who_the_first_is",
    "settings of impossible values": "test_hostile.py::test_impossible_settings_are_said_before_any_work",
    "settings that a refused run had": (
        "cli/test_entry_point.py::test_a_refused_run_leaves_the_config_and_says_what_it_changed"
    ),
    "empty folders, a setting taken away, a seed of 2^64": (
        "cli/test_entry_point.py::test_slips_are_named_without_a_traceback"
    ),
    "paths with quotes, brackets, = and commas": "cli/test_entry_point.py::test_a_folder_of_any_name_can_be_given",
    "terminal escapes in the log": "cli/test_entry_point.py::test_the_log_shows_no_control_characters",
    "disk that is full while the log is written": "cli/test_entry_point.py::test_a_full_disk_is_said_once",
    "Ctrl-C or SIGTERM, at the start or later": ("cli/test_entry_point.py::test_a_stopped_program_says_how_to_go_on"),
    "link in place of the lock": "storage/test_lock.py::test_a_link_in_place_of_the_lock_is_not_written_to",
    "formulas as class names in CSV": "storage/test_files.py::test_names_are_no_formulas_in_csv",
    "config of a run with YAML aliases, or of odd kinds": "test_compare.py::test_folders_that_are_no_runs",
    "detector whose model.json asks for gigabytes or hours": (
        "detectors/rcnn/test_detector.py::test_a_hostile_description_is_an_input_error"
    ),
    "labels corrected between two runs": "test_changed_input.py::test_corrected_labels_count",
    "image changed between two runs": (
        "test_changed_input.py::test_a_changed_image_is_done_again_and_a_touched_or_moved_one_is_not"
    ),
    "detector trained anew in its place": "test_changed_input.py::test_a_detector_trained_anew_in_its_place_is_noticed",
    "run inside the folder of its images": "test_changed_input.py::test_a_run_does_not_read_what_it_wrote",
    "names of 250 bytes, a.png beside a.png.jpg": (
        "test_changed_input.py::test_names_that_would_be_drawn_in_one_place_and_long_ones"
    ),
    "one bad image in a run": "test_hostile.py::test_one_bad_image_is_recorded_and_ends_nothing_unless_strict",
}


def test_the_inventory_is_large() -> None:
    assert len(INVENTORY) >= 60


@pytest.mark.parametrize("place", sorted(set(INVENTORY.values())))
def test_every_kind_has_its_test(place: str) -> None:
    path, name = place.split("::")
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("nothing"), lambda path: path.symlink_to(path.name)])
def test_a_link_that_leads_nowhere(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg' (does not exist|cannot be read)"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("node", "overrides", "says"),
    [
        (None, ["batch_size=0"], "batch_size must be a whole number of at least 1, got 0"),
        (None, ["in_flight=-3"], "in_flight must be a whole number of at least 1, got -3"),
        (None, ["workers=-1"], "workers must be a whole number of at least 0, got -1"),
        (None, ["limit=-1"], "limit must be a whole number of at least 0, got -1"),
        (None, ["limit=many"], "limit must be a whole number of at least 0, got 'many'"),
        (None, ["seed=1.5"], r"seed must be a whole number of at least 0, got 1\.5"),
        (None, ["strict=perhaps"], "strict must be true or false, got 'perhaps'"),
        (None, ["localizer=nonsense"], "nonsense"),
        (None, ["no.such.key=1"], "no"),
        ("data", ["data.n_train=-1"], "data.n_train must be a whole number of at least 0, got -1"),
        ("data", ["data.clutter=2"], r"data.clutter must be a number in \[0, 1\], got 2"),
        ("data", ["data=folder", "data.root=/nowhere"], "'/nowhere' does not exist"),
        ("data", ["data=auto", "data.root=/nowhere"], "'/nowhere' does not exist"),
        (
            "localizer",
            ["localizer=stl_cl", "localizer.drop=sideways"],
            "localizer.drop must be class or top, got 'sideways'",
        ),
        ("localizer", ["localizer=stl_cl", "localizer.weights.drop=0.9"], "weights must be >= 0 .* and sum to 1"),
        ("localizer", ["localizer=eiss", "localizer.alpha=2"], r"localizer.alpha must be a number in \(0, 1\), got 2"),
        (
            "localizer",
            ["localizer=dam", "localizer.percentile=100"],
            r"localizer.percentile must be a number in \[0, 100\), got 100",
        ),
        (
            "localizer",
            ["localizer=center_box", "localizer.width=2"],
            r"localizer.width must be a number in \(0, 1\], got 2",
        ),
        (
            "localizer",
            ["localizer=sliding_window", "localizer.stride=0"],
            r"localizer.stride must be a number in \(0, 1\], got 0",
        ),
        (
            "proposals",
            ["proposals=selective_search", "proposals.sigma=0"],
            "proposals.sigma must be a number above 0, got 0",
        ),
        (
            "proposals",
            ["proposals=selective_search", "proposals.color_spaces=[xyz]"],
            r"proposals.color_spaces\[0\] must be hsv",
        ),
        ("proposals", ["proposals.max_boxes=-1"], "proposals.max_boxes must be a whole number of at least 0, got -1"),
        # a localizer whose weights are trained first
        (
            "localizer",
            ["localizer=wsddn", "localizer.score_exponent=0"],
            "localizer.score_exponent must be a number above 0",
        ),
        (
            "localizer",
            ["localizer=wsddn", "localizer.voting_exponent=much"],
            "localizer.voting_exponent must be a number or null, got 'much'",
        ),
        (
            "localizer",
            ["localizer=vote", "localizer.source.max_boxes=x"],
            "localizer.source.max_boxes must be a whole",
        ),
        ("localizer", ["localizer=center_box", "localizer.width=null"], "localizer.width must be a number, got None"),
        ("localizer", ["localizer._target_=no.such.Class"], "localizer._target_ names nothing that can be imported"),
        (None, ["region_classifier.heads=0"], "region_classifier.heads must be a whole number of at least 1, got 0"),
        (
            None,
            ["network.training.learning_rate=-1"],
            "network.training.learning_rate must be a number above 0, got -1",
        ),
        (None, ["network.input_size=0"], "network.input_size must be a whole number of at least 32, got 0"),
        (None, ["network.input_size=x"], "network.input_size must be a whole number or null, got 'x'"),
        (None, ["network.training.epochs=1.5"], "network.training.epochs must be a whole number, got 1.5"),
        ("detector", ["detector.top_k=0"], "detector.top_k must be a whole number of at least 1, got 0"),
        (
            "detector",
            ["detector.train_on=[nothing]"],
            r"detector.train_on\[0\] must be pseudo, ground_truth, center_box, corrected or c",
        ),
        ("detector", ["detector.protocols.fast.rounds=-1"], "detector.protocols.fast.rounds must be a whole number"),
        ("detector", ["detector.nms_iou=3"], r"detector.nms_iou must be a number in \[0, 1\], got 3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_impossible_settings_are_said_before_any_work(node: str | None, overrides: Sequence[str], says: str) -> None:
    def begin() -> None:
        cfg = compose("train", overrides)
        if node == "data":
            build(cfg.data, "data")
        elif node == "detector":
            experiment_of(cfg).detector.build()
        elif node is not None:
            check_parts(cfg, node)

    with pytest.raises(InputError, match=f"(?s){says}"):
        begin()


def test_one_bad_image_is_recorded_and_ends_nothing_unless_strict(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        (tmp_path / "photos" / "cat").mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / "cat" / f"{number}.png")
    (tmp_path / "photos" / "cat" / "1.png").write_bytes(b"broken")
    dataset: Any = Folder(tmp_path / "photos", test_fraction=0)
    no_network: Any = None  # which a constant box never asks
    store = BoxStore(tmp_path / "store", {})
    report = localize(dataset, dataset.ids("train"), CenterBox(), no_network, store)
    assert (report.done, list(report.failed)) == (2, ["cat/1.png"])
    assert "1.png' cannot be read as JPEG, PNG" in BoxStore(tmp_path / "store").failed["cat/1.png"]
    assert "1 images failed, each with its reason in" in caplog.text
    with pytest.raises(InputError, match=r"1\.png' cannot be read"):
        localize(dataset, dataset.ids("train"), CenterBox(), no_network, store, strict=True)
