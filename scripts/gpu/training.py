"""A training job: from where an earlier call left it, on the faster backend, in its time, measured and sent."""

import csv
import filecmp
import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from gpu import KitError, machine, pace, parts, resume
from gpu.call import Call, follow, last_lines, module
from gpu.jobs import BACKENDS, STEPS, QueuedJob

TRIAL_SECONDS = 60.0  # of a trial until it trains, at most: imports and compiling
SEND_SECONDS = 120.0  # between two times that what was trained is written to the folder that goes back
CHECKPOINT_MINUTES = 2.0
START_SECONDS = 25.0  # of a training process until it trains, about
MEASURE_SECONDS = 60.0  # kept for the test pairs
SAVE_SECONDS = 15.0  # kept for saving and sending
LEAST_SECONDS = 5.0  # of training: with less there is no use in starting


class Training:
    """One job in one call. `facts` is what job.json says of it, written whenever something is sent."""

    def __init__(self, job: QueuedJob, call: Call):
        self.job, self.call = job, call
        self.home = call.work / job.name
        self.run, self.log = self.home / "run", self.home / "output.txt"
        self.facts, self.shown, self.sent_at = {"job": job.name}, 0, time.monotonic()

    def __call__(self) -> int:
        """Returns the exit code."""
        job, call = self.job, self.call
        left = resume.find(job.name, self.home, [call.out, call.kit / "runs" / job.name])
        self.home.mkdir(parents=True, exist_ok=True)
        self.facts |= {key: left.facts[key] for key in ("backend", "steps", "paces", "calls") if key in left.facts}
        print(f"going on from: {left.kind}" + (f", step {left.step}" if left.kind != "nothing" else ""), flush=True)
        backend = self.choose_backend(left)
        environment = machine.environment(call.site, call.kit, call.work, backend, call.cpu)
        resume.restore(left, self.home, environment, call.kit)
        options = job.options(call.kit, call.cpu, self.facts["steps"])
        if left.kind != "nothing" and "--weights" in options:  # the run has weights of its own
            del options[options.index("--weights") : options.index("--weights") + 2]
        before, self.shown = self.trained_seconds(), len(self.rows())
        planned = before + 60 * call.minutes if call.cpu else 60 * job.minutes
        self.facts |= {
            "recipe_options": options,
            "device": call.device,
            "versions": machine.versions(),
            "rehearsal_on_cpu": call.cpu,
            "went_on_from": [left.kind, left.step],
        }
        self.facts["calls"] = [
            *self.facts.get("calls", []),
            {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "device": call.device,
                "backend": backend,
                "from": left.kind,
                "step": left.step,
            },
        ]
        if left.folder == call.out:  # until there is something newer
            self.facts |= {key: left.facts[key] for key in ("sent", "settings")}
        if planned - before < LEAST_SECONDS:
            print(f"it has trained its {job.minutes:g} minutes, and is measured again", flush=True)
        else:
            code = self.train(options, backend, environment, before, planned)
            if code not in (0, 130) or not (self.run / "checkpoints").is_dir():
                print(last_lines(self.log), flush=True)
                return code or 1
        self.measure(environment)
        self.send()
        print(self.summary(), flush=True)
        return 0

    def train(self, options: list[str], backend: str, environment: dict, before: float, planned: float) -> int:
        """Train for as many of the `planned` seconds as this call has, `before` of which are over; the exit code.

        Stages get their shares of the whole, so a part of their time is ended from here, by SIGTERM.
        """
        job, call = self.job, self.call
        beside = call.slack * (START_SECONDS + MEASURE_SECONDS + SAVE_SECONDS)
        seconds = min(60 * call.minutes, planned - before, call.left() - beside)
        if seconds < LEAST_SECONDS:
            raise KitError(
                f"{call.left():.0f} seconds of the call's {call.limit:g} minutes are left, and this job "
                f"needs {beside + LEAST_SECONDS:.0f}: give a higher --limit"
            )
        staged = self.facts["paces"][call.device][backend].get("stages", 1) > 1
        minutes = (planned if staged else before + seconds) / 60
        rounds = max(1, round(self.facts["steps_per_second"] * min(job.round_seconds, seconds / 3)))
        parts.write_json(self.home / "job.json", self.facts)  # the schedule, whatever happens now
        command = module(
            "madn.train",
            *options,
            "--run",
            self.run,
            "--resume",
            "--minutes",
            round(minutes, 3),
            "--round-steps",
            rounds,
            "--checkpoint-minutes",
            CHECKPOINT_MINUTES,
        )
        print(f"training on {backend} for {seconds / 60:.1f} minutes, a line every {rounds} steps", flush=True)
        patience = call.slack * (START_SECONDS if staged else 2 * START_SECONDS)
        try:
            self.facts["exit_code"] = follow(
                command,
                self.log,
                call.kit,
                environment,
                min(call.left() - call.slack * MEASURE_SECONDS, seconds + patience),
                self.tick,
            )
        finally:  # also where it is told to stop: training has saved its state then
            self.send()
        return self.facts["exit_code"]

    def choose_backend(self, left: resume.Left) -> str:
        """The backend, and with its pace the number of steps; what an earlier call found on such a device is kept."""
        job, call, facts = self.job, self.call, self.facts
        known = left.facts.get("paces", {}).get(call.device, {}) if left.kind != "nothing" else {}
        if not known:
            for backend in [job.backend] if job.backend else BACKENDS:
                options = job.options(call.kit, call.cpu, facts.get("steps"))
                environment = machine.environment(call.site, call.kit, call.work, backend, call.cpu)
                known[backend] = pace.tried(
                    backend, options, call.trial, environment, call.kit, call.trial + TRIAL_SECONDS * call.slack
                )
                said = known[backend].get("failed") or f"{known[backend]['steps_per_second']:.3g} steps a second"
                print(f"tried {backend}: {said}", flush=True)
        backend = pace.choose(known)
        facts["backend"], facts["paces"] = backend, {**facts.get("paces", {}), call.device: known}
        facts["steps_per_second"] = known[backend]["steps_per_second"]
        if not facts.get("steps"):
            minutes = call.minutes if call.cpu else job.minutes
            facts["steps"] = max(10, round(60 * minutes * facts["steps_per_second"])) if STEPS in job.command else None
        return backend

    def tick(self) -> None:
        """Once a second: show new lines of the log, and send every two minutes."""
        rows = self.rows()
        for row in rows[self.shown :]:
            print(
                "  ".join(
                    f"{name} {row[name]}"
                    for name in ("step", "seconds", "loss", "psnr", "blurred_psnr", "val_psnr")
                    if row.get(name)
                ),
                flush=True,
            )
        self.shown = max(self.shown, len(rows))
        if time.monotonic() - self.sent_at > SEND_SECONDS:
            self.send()

    def rows(self) -> list[dict]:
        file = self.run / "log.csv"
        if not file.is_file():
            return []
        return list(csv.DictReader(line for line in file.read_text().splitlines(True) if line.endswith("\n")))

    def trained_seconds(self) -> float:
        """Seconds of training so far, those of earlier calls included."""
        rows = self.rows()
        return float(rows[-1]["seconds"]) if rows else 0.0

    def measure(self, environment: dict) -> None:
        """Restore the test pairs by the network as it is now, and keep the scores."""
        out, test = self.home / "evaluation", self.call.kit / "test"
        shutil.rmtree(out, ignore_errors=True)
        command = module(
            "madn.evaluate",
            self.run,
            "--data",
            test,
            "--split",
            "test",
            "--which",
            "last",
            "--out",
            out,
            "--pictures",
            0,
        )
        if self.call.cpu:
            command += ["--protocol", "crop", "--limit", "1"]
        code = follow(command, self.log, self.call.kit, environment, self.call.left() - SAVE_SECONDS, lambda: None, 1.0)
        file = next(iter(sorted(out.glob("*.json"))), None)
        if code or file is None:
            self.facts["evaluation"] = f"failed or cut short (exit code {code})"
            return
        result = json.loads(file.read_text())
        self.facts["evaluation"] = {"protocol": file.stem, "mean": result["mean"], "images": result["images"]}

    def send(self) -> None:
        """Write what goes back: log, output, picture, and the weights in parts, the whole state where it fits.

        job.json comes last and names the parts with their sha256; what is older goes when the new is ready to be put.
        """
        out, checkpoints = self.call.out, self.run / "checkpoints"
        self.sent_at = time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        if (self.run / "settings.json").is_file():
            self.facts["settings"] = json.loads((self.run / "settings.json").read_text())
        self.facts["trained_seconds"] = self.trained_seconds()
        rows = self.rows()
        self.facts["last"] = rows[-1] if rows else None
        chosen = self.weights(checkpoints)
        if chosen:
            kind, file, step = chosen
            made = parts.split(file, self.home / "parts", f"{self.job.name}-{step:07d}-{kind}")
            sizes = [path.stat().st_size for path in made]
            here = parts.fitting(sizes)
            self.facts["sent"] = {
                "kind": kind,
                "step": step,
                "file": file.name,
                "bytes": sum(sizes),
                "sha256": parts.sha256_of(file),
                "parts": [{"name": path.name, "bytes": size} for path, size in zip(made, sizes, strict=True)],
                "parts_here": here,
            }
            keep = {path.name for path in made}
            for folder in (self.home / "parts", out):
                for path in folder.glob(f"{self.job.name}-*.part*of*"):
                    if path.name not in keep:
                        path.unlink()
            for number in here:
                there = out / made[number - 1].name
                if not (there.is_file() and filecmp.cmp(made[number - 1], there, shallow=False)):
                    parts.copy(made[number - 1], there)
        for name, source in (("log.csv", self.run / "log.csv"), ("latest.png", self.run / "samples" / "latest.png")):
            if source.is_file() and source.stat().st_size < parts.SMALL_BYTES:
                parts.copy(source, out / name)
        if self.log.is_file():
            (out / "output.txt").write_bytes(self.log.read_bytes()[-200_000:])
        for folder in (self.home, out):
            parts.write_json(folder / "job.json", self.facts)

    def weights(self, checkpoints: Path) -> tuple[str, Path, int] | None:
        """(kind, file, step) of what is sent: the newest state where it fits, else the generator in float16."""
        states = sorted(checkpoints.glob("state-*.weights.h5"))
        if states and states[-1].stat().st_size <= parts.SENT:
            return "state", states[-1], int(states[-1].name[6:-11])
        last = checkpoints / "last.weights.h5"
        if not last.is_file():
            return None
        from madn.weights.publishing import store_float16

        half = self.home / "half.weights.h5"
        store_float16(last, half)
        return "generator", half, parts.generator_step(half)

    def summary(self) -> str:
        """What the call came to, in a few lines."""
        sent, score = self.facts.get("sent"), self.facts.get("evaluation")
        lines = [f"{self.job.name}: {self.facts['trained_seconds'] / 60:.1f} minutes of training in all"]
        if isinstance(score, dict):
            lines.append(
                "test pairs ({}): PSNR {:.2f} dB, blurred {:.2f} dB".format(
                    score["protocol"], score["mean"]["restored"]["psnr"], score["mean"]["blurred"]["psnr"]
                )
            )
        if sent:
            lines.append(
                f"sent: the {sent['kind']} of step {sent['step']}, {sent['bytes'] / parts.MIB:.1f} MiB in "
                f"{len(sent['parts'])} parts"
            )
            if len(sent["parts_here"]) < len(sent["parts"]):
                following = (sent["parts_here"] or [0])[-1] + 1
                lines.append(
                    f"not all of it fits: parts from {following} on by --job {self.job.name} --send "
                    f"{following} on this machine, while it is there"
                )
        return "\n".join(lines)


def send_more(job: QueuedJob, call: Call, first: int) -> int:
    """Send the parts from number `first` on that an earlier call on this machine had no room for."""
    home = call.work / job.name
    try:
        facts = json.loads((home / "job.json").read_text())
        names = [part["name"] for part in facts["sent"]["parts"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise KitError(f"{home}: no weights of job {job.name} on this machine") from None
    here = parts.fitting([part["bytes"] for part in facts["sent"]["parts"]], first)
    call.out.mkdir(parents=True, exist_ok=True)
    for number in here:
        parts.copy(home / "parts" / names[number - 1], call.out / names[number - 1])
    parts.write_json(call.out / "job.json", facts | {"sent": facts["sent"] | {"parts_here": here}})
    print(f"sent parts {', '.join(map(str, here)) or 'none'} of {len(names)}")
    return 0
