"""As much of Ray's actors as examples/distributed/ray_train.py uses, in threads of one process."""

import sys
import types
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor()


class Method:
    def __init__(self, bound):
        self.bound = bound

    def remote(self, *given):
        return pool.submit(self.bound, *given)


class Handle:
    def __init__(self, actor):
        self.actor = actor

    def __getattr__(self, name):
        return Method(getattr(self.actor, name))


class ActorClass:
    def __init__(self, kind):
        self.kind = kind

    def options(self, *, num_cpus, scheduling_strategy):
        return self

    def remote(self):
        return Handle(self.kind())


def remote(*, max_concurrency):
    return ActorClass


def init():
    pass


def get(asked):
    return [one.result() for one in asked] if isinstance(asked, list) else asked.result()


class Group:
    def ready(self):
        return pool.submit(lambda: None)


def module(name, **members):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(members)
    return sys.modules[name]


exceptions = module("ray.exceptions", RayActorError=type("RayActorError", (Exception,), {}))
util = module("ray.util", get_node_ip_address=lambda: "127.0.0.1")
module("ray.util.placement_group", placement_group=lambda bundles, strategy: Group(), remove_placement_group=lambda group: None)
module("ray.util.scheduling_strategies", PlacementGroupSchedulingStrategy=lambda group, placement_group_bundle_index: None)
