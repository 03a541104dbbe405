"""A trained model that leaves the machine it was trained on, and comes back from another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from huggingface_hub.errors import HFValidationError

from workbench import config
from workbench.errors import RunError, WorkbenchError, first_line
from workbench.inference.loading import load_model, with_foreign_weights
from workbench.models import SegmentationModel
from workbench.runs import RunDirectory, atomic_directory
from workbench.runs.shared_folder import FILES, SETTINGS, check_target, read_shared, write_shared
from workbench.sharing.card import PAPER, card_data, card_text
from workbench.sharing.facts import Facts, facts_from_dict, facts_of_run
from workbench.vocabulary import Vocabulary


# ModelHubMixin and not its PyTorch form: that one takes a pickle where safetensors are missing,
# lets weights differ in names, and knows neither vocabulary nor numbers.
class SharedModel(
    ModelHubMixin,
    library_name="segmentation-workbench",
    pipeline_tag="image-segmentation",
    tags=["semantic-segmentation"],
    paper_url=PAPER,
):
    """A model with its classes: what a folder or a hub holds, and all that a prediction needs.

    Attributes:
        model: In evaluation mode, on the CPU, in fp32.
        vocabulary: Row = class id.
        config: Settings of the training, without its folders.
        facts: What the card says.
    """

    def __init__(
        self,
        model: SegmentationModel,
        vocabulary: Vocabulary,
        config: config.Run,
        facts: Facts,
    ) -> None:
        """Puts the parts together; use ``from_run`` or ``from_pretrained``."""
        self.model = model
        self.vocabulary = vocabulary
        self.config = config
        self.facts = facts

    @classmethod
    def from_run(
        cls,
        run: RunDirectory | Path | str,
        checkpoint: Literal["last", "best"] | int = "last",
        *,
        license: str = "",
    ) -> Self:
        """Takes a model out of a run, with the numbers of its evaluations.

        Args:
            run: With a checkpoint.
            checkpoint: Which weights.
            license: Terms of the weights as hubs call them, "apache-2.0"; "" leaves them open.

        Raises:
            RunError: No such checkpoint, or the run is damaged.
        """
        directory = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
        model, step = load_model(directory, checkpoint)
        facts = facts_of_run(directory, step, license=license)
        settings = _portable(config.from_dict(directory.config()))
        return cls(model, directory.vocabulary(), settings, facts)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **model_kwargs: Any,  # noqa: ANN401 - the mixin's
    ) -> Self:
        """Reads a folder that ``save_pretrained`` wrote, or downloads it from the hub.

        Args:
            pretrained_model_name_or_path: A folder, else a name on the hub.
            force_download: Download what is in the cache already.
            token: Of the hub; None takes the one of ``hf auth login``.
            cache_dir: Where downloads are kept.
            local_files_only: Take the cache and download nothing.
            revision: Branch, tag or commit; None is the newest.
            model_kwargs: None: all settings come with the model.

        Raises:
            RunError: No such folder or name, no network, or a file is absent or damaged.
        """
        if model_kwargs:
            raise TypeError(f"from_pretrained takes no {next(iter(model_kwargs))}")
        label = str(pretrained_model_name_or_path)
        folder = Path(label)
        if not folder.is_dir():
            with _one_line(f"{label} is no folder here, and the hub does not give it"):
                folder = Path(
                    snapshot_download(
                        label,
                        revision=revision,
                        cache_dir=cache_dir,
                        force_download=force_download,
                        token=token,
                        local_files_only=local_files_only,
                        allow_patterns=list(FILES),
                    )
                )
        return cls._of_folder(folder, label)

    @classmethod
    def _of_folder(cls, folder: Path, label: str) -> Self:
        files = read_shared(folder, label=label)
        facts = facts_from_dict(files.settings.get("facts"), label=f"{label}/{SETTINGS}")
        settings = files.settings.get("config")
        if not isinstance(settings, dict):
            raise RunError(f"{label}/{SETTINGS}: 'config' is missing; share the model again")
        try:
            run_config = config.from_dict(settings)
            model = with_foreign_weights(run_config, len(files.vocabulary), files.tensors)
        except WorkbenchError as error:
            raise RunError(f"{label}: {error}") from error
        return cls(model, files.vocabulary, run_config, facts)

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        replace: bool = False,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **push_options: Any,  # noqa: ANN401 - the mixin's
    ) -> str | None:
        """Writes weights, settings, classes and card into a folder, all of them or none.

        Args:
            save_directory: New folder.
            replace: Replace a shared model that is there; a folder with anything else stays.
            push_to_hub: Upload it, too.
            repo_id: Its name on the hub; the folder's if None.
            push_options: As ``push_to_hub`` takes them.

        Returns:
            The address of the upload, if there was one.

        Raises:
            RunError: The folder holds something, or the hub refuses.
        """
        target = Path(save_directory)
        check_target(target, replace=replace)
        with atomic_directory(target) as temporary:
            super().save_pretrained(temporary)
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or target.resolve().name, **push_options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:  # noqa: ANN401 - the mixin's
        """Uploads what ``save_pretrained`` writes.

        Args:
            repo_id: NAME/MODEL on the hub; made where it does not exist.
            options: As ``ModelHubMixin.push_to_hub`` takes them: ``private``, ``token``, ...

        Returns:
            The address of the upload.

        Raises:
            RunError: The hub refuses, or there is no network.
        """
        with _one_line(f"{repo_id} cannot be uploaded"):
            return super().push_to_hub(repo_id, **options)

    def generate_model_card(self, *_args: object, **_kwargs: object) -> ModelCard:
        """The card: numbers of the run, and what was not measured."""
        head = card_data(self.facts, self.config, self._hub_mixin_info.model_card_data)
        body = card_text(self.model, self.vocabulary, self.config, self.facts)
        return ModelCard(f"---\n{head.to_yaml()}\n---\n\n{body}")

    def _save_pretrained(self, save_directory: Path) -> None:
        write_shared(
            save_directory,
            settings={
                "config": config.to_dict(self.config),
                "facts": dataclasses.asdict(self.facts),
            },
            vocabulary=self.vocabulary,
            tensors=self.model.state_dict(),
        )


def _portable(run_config: config.Run) -> config.Run:
    """Settings that tell no stranger where the files of somebody else lie."""
    data = dataclasses.replace(run_config.data, root=f"data/{run_config.data.dataset}")
    weights = Path(run_config.model.weights).name  # a word that is no path stays as it is
    model = dataclasses.replace(run_config.model, weights=weights)
    return dataclasses.replace(run_config, data=data, model=model)


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turns errors of the hub into one line; it has a dozen kinds, some of them httpx's."""
    try:
        yield
    except WorkbenchError:
        raise
    except HFValidationError as error:
        raise RunError(f"{what} (no name of a model); give a folder or NAME/MODEL") from error
    except Exception as error:
        raise RunError(
            f"{what} ({first_line(error)[:200]}); check the name, the network and, for what is "
            "not public, `hf auth login`"
        ) from error
