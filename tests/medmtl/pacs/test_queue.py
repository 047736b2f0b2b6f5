"""The queue: each content once, nothing lost by a crash, later images supersede, and what a person asks of it."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from medmtl.errors import UsageError
from medmtl.pacs.inbox import content_of
from medmtl.pacs.queue import MAX_STARTS, DeliveryState, JobState, Queue, Received


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with closing(Queue(tmp_path)) as opened:
        yield opened


def image(number: int, *, study: str = "s", digest: str = "d") -> Received:
    return Received(study=study, series="series", instance=f"i{number}", digest=digest, calling="CT1")


def shut(queue: Queue, study: str = "s") -> tuple[int, ...]:
    """Ends the study's intake for one rule that wants all of it."""
    [last] = [last for found, _, last in queue.quiet(time.time() + 1) if found == study]
    images = queue.images(study)
    return queue.shut(study, last, [("rule", content_of(images), len(images))])


def answered(queue: Queue) -> int:
    job = queue.next_job()
    assert job is not None
    queue.done(job.id, [("pacs", "case/seg.dcm"), ("pacs", "case/sr.dcm")])
    return job.id


def test_the_same_content_is_answered_once(queue: Queue) -> None:
    assert queue.receive(image(1), "study-1")
    assert queue.receive(image(2), "study-1")
    assert len(shut(queue)) == 1
    answered(queue)
    assert not queue.receive(image(1), "study-1")
    assert queue.quiet(time.time() + 1) == ()
    queue.receive(image(2, digest="changed"), "study-1")
    assert len(shut(queue)) == 1
    queue.receive(image(2), "study-1")  # as it was at first
    assert shut(queue) == ()


def test_images_that_come_while_a_study_is_closed_keep_it_open(queue: Queue) -> None:
    queue.receive(image(1), "study-1")
    [(study, _, last)] = queue.quiet(time.time() + 1)
    queue.receive(image(2), "study-1")
    assert queue.shut(study, last - 1.0, [("rule", "content", 1)]) == ()
    assert len(queue.quiet(time.time() + 1)) == 1


def test_later_images_supersede_what_waits_and_name_what_was_answered(queue: Queue) -> None:
    queue.receive(image(1), "study-1")
    shut(queue)
    queue.receive(image(2), "study-1")
    shut(queue)
    assert [job.state for job in queue.jobs()] == [JobState.SUPERSEDED, JobState.WAITING]
    second = answered(queue)
    queue.receive(image(3), "study-1")
    shut(queue)
    third = queue.next_job()
    assert third is not None
    assert third.supersedes == second


def test_what_ran_in_a_crash_waits_again_and_not_for_ever(queue: Queue, tmp_path: Path) -> None:
    queue.receive(image(1), "study-1")
    shut(queue)
    for _ in range(MAX_STARTS):
        assert queue.next_job() is not None
        queue.close()
        queue = Queue(tmp_path)
        queue.recover()
    assert queue.next_job() is None
    [job] = queue.jobs()
    assert (job.state, job.code) == (JobState.FAILED, "internal-error")
    assert queue.retry(job.id)
    assert queue.next_job() is not None
    queue.close()


def test_deliveries_of_one_job_and_destination_go_together(queue: Queue) -> None:
    for study in ("a", "b"):
        queue.receive(image(1, study=study), study)
        shut(queue, study)
    answered(queue), answered(queue)
    first = queue.due(time.time())
    assert [(one.job, one.file) for one in first] == [(1, "case/seg.dcm"), (1, "case/sr.dcm")]
    queue.deliver(first[:1], DeliveryState.SENT)
    queue.deliver(first[1:], DeliveryState.WAITING, due=time.time() + 60, error=("code", "text"), failed_once=True)
    assert {one.job for one in queue.due(time.time())} == {2}
    assert [one.attempts for one in queue.deliveries(1)] == [0, 1]
    assert queue.retry(1)  # now, and counted anew
    assert [one.file for one in queue.due(time.time())] == ["case/sr.dcm"]
    assert queue.drop(1)
    assert {one.job for one in queue.due(time.time())} == {2}
    assert [one.state for one in queue.deliveries(1)] == [DeliveryState.SENT, DeliveryState.DROPPED]


def test_a_dropped_job_is_not_begun_and_can_be_taken_up(queue: Queue) -> None:
    queue.receive(image(1), "study-1")
    [job] = shut(queue)
    assert queue.drop(job)
    assert queue.next_job() is None
    assert not queue.drop(job)
    assert queue.retry(job)
    assert queue.next_job() is not None
    with pytest.raises(UsageError):
        queue.retry(99)


def test_only_what_is_done_and_sent_expires(queue: Queue) -> None:
    for study in ("waits", "sends", "done"):
        queue.receive(image(1, study=study), study)
    for study in ("done", "sends", "waits"):
        shut(queue, study)
    done = answered(queue)
    queue.deliver(queue.due(time.time()), DeliveryState.SENT)
    answered(queue)
    studies, jobs = queue.expired(time.time() + 1)
    assert (studies, jobs) == (("done",), (done,))
    assert queue.expired(time.time() - 60) == ((), ())
    queue.forget(studies)
    queue.receive(image(1, study="done"), "study-1")
    assert shut(queue, "done") == ()  # it was answered, though nothing of it is left


def test_the_file_holds_no_uid(queue: Queue, tmp_path: Path) -> None:
    from medmtl.pacs.inbox import hashed

    uid = "1.2.826.0.1.3680043.8.498.77"
    one = Received(study=hashed(uid), series=hashed(uid), instance=hashed(uid), digest="d", calling="CT1")
    queue.receive(one, "study-1")
    assert all(uid.encode() not in path.read_bytes() for path in tmp_path.iterdir())
