from salver.batching.observer import UNOBSERVED


def test_the_observer_that_nobody_gave_takes_everything_that_is_told() -> None:
    UNOBSERVED.task_came(1, 2)
    UNOBSERVED.batch_taken((0.5,))
    UNOBSERVED.batch_merged(1, 1, 2)
    UNOBSERVED.batch_ran()
