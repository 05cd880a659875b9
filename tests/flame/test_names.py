"""Kinds of frames, and the rules by which names become comparable."""

from __future__ import annotations

import pytest

from jvbtune.errors import UsageError
from jvbtune.flame.model import Kind
from jvbtune.flame.names import ALL_RULES, RULE_NAMES, NameRules, pool_of, split_suffix, with_suffix

KINDS = [
    # as a collapsed file has it, name without suffix, kind
    ("java/lang/Thread.run_[j]", "java/lang/Thread.run", Kind.JAVA),
    ("java/lang/Thread.run_[0]", "java/lang/Thread.run", Kind.INTERPRETED),
    ("java/lang/Thread.run_[1]", "java/lang/Thread.run", Kind.C1),
    ("java/lang/Thread.run_[i]", "java/lang/Thread.run", Kind.INLINED),
    ("udp_sendmsg_[k]", "udp_sendmsg", Kind.KERNEL),
    ("std::sort_[i]", "std::sort", Kind.CPP),
    ("java/lang/Thread.run", "java/lang/Thread.run", Kind.JAVA),
    ("org/jitsi/nlj/util/PacketInfoQueue$$Lambda$484.0x00007f458054beb8.handlePacket", None, Kind.JAVA),
    ("java/lang/ref/Finalizer.<init>", None, Kind.JAVA),
    ("void org.jitsi.nlj.transform.node.NeverDiscardNode.doProcessPacket", None, Kind.JAVA),
    ("java.lang.Object org.jitsi.videobridge.Endpoint$$Lambda$487/0x00007fd1e454bd68.get", None, Kind.JAVA),
    ("byte[] java.lang.String.getBytes", None, Kind.JAVA),
    ("Main.main", None, Kind.JAVA),
    ("Lorg/x/Y;::m", None, Kind.JAVA),
    ("Lorg/x/Y$$Lambda$484/0x00007f458054beb8;::run", None, Kind.JAVA),
    ("Lorg/x/Y;m(Ljava/lang/String;I)V", None, Kind.JAVA),
    ("LMain;::main", None, Kind.JAVA),
    ("org/x/Y:::m", None, Kind.JAVA),
    ("org/x/y:::m", None, Kind.JAVA),
    ("org/x/Y:m", None, Kind.JAVA),
    ("sendto", None, Kind.NATIVE),
    ("__libc_start_main", None, Kind.NATIVE),
    ("Java_sun_nio_ch_DatagramChannelImpl_send0", None, Kind.NATIVE),
    ("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", None, Kind.NATIVE),
    ("finish_task_switch.isra.0", None, Kind.NATIVE),
    ("Interpreter", None, Kind.NATIVE),
    ("Parker::park", None, Kind.CPP),
    ("void WeakProcessor::Task::work<G1STWIsAliveClosure, G1KeepAliveClosure>", None, Kind.CPP),
    ("-[NSObject init]", None, Kind.CPP),
    ("G1ParScanThreadState::trim_queue_to_threshold", None, Kind.GC),
    ("ShenandoahConcurrentMark::mark_loop", None, Kind.GC),
    ("G1 Conc#0", None, Kind.GC),
    ("GC Thread#1", None, Kind.GC),
    ("C2 CompilerThread0", None, Kind.JIT),
    ("C1_CompilerThre", None, Kind.JIT),
    ("CompileBroker::compiler_thread_loop", None, Kind.JIT),
    ("PhaseChaitin::Register_Allocate", None, Kind.JIT),
    ("run (jvbtune/load/worker.py:12)", None, Kind.PYTHON),
    ("<module> (script.py:1)", None, Kind.PYTHON),
    # not what agents in a JVM write, as much as it looks like it
    ("net/http:foo", None, Kind.NATIVE),
    ("github.com/Foo/Bar:Baz", None, Kind.NATIVE),
    ("drivers/GPU:irq_handler", None, Kind.NATIVE),
    ("trace/events/sched:sched_switch", None, Kind.NATIVE),
    ("kworker/u8:2-flush", None, Kind.NATIVE),
    ("webpack://App/Foo:bar", None, Kind.NATIVE),
    ("node:internal/Foo:bar", None, Kind.NATIVE),
    ("LazyCompile:~foo /srv/app/Main.js:12", None, Kind.NATIVE),
    ("/usr/lib/x/Foo:bar", None, Kind.NATIVE),
    ("a/b/C:12", None, Kind.NATIVE),
    ("std::x<a/b;c>", None, Kind.CPP),
    ("L<a/b;c>::x", None, Kind.CPP),
    ("a/b/C::d", None, Kind.CPP),
    ("core::ops::function::FnOnce::call_once", None, Kind.CPP),
    ("void std::a<b/c>::X:::y", None, Kind.CPP),
    ("Lorg/x/Y;::m (x.py:3)", None, Kind.CPP),
    ("[unknown]", None, Kind.OTHER),
    ("0x7f4580001234", None, Kind.OTHER),
]


@pytest.mark.parametrize(("raw", "name", "kind"), KINDS, ids=[raw for raw, _, _ in KINDS])
def test_kinds(raw: str, name: str | None, kind: Kind) -> None:
    assert split_suffix(raw) == (name or raw, kind)


@pytest.mark.parametrize("raw", [raw for raw, _, _ in KINDS if raw.endswith("]") and "_[" in raw and "std" not in raw])
def test_a_suffix_is_put_back(raw: str) -> None:
    assert with_suffix(*split_suffix(raw)) == raw


RULED = {
    "jit-tiers": [("a/B.c_[0]", "a/B.c"), ("a/B.c_[i]", "a/B.c"), ("a/B.c_[1]", "a/B.c"), ("a/B.c_[j]", "a/B.c")],
    "perf-agents": [
        ("Lorg/x/Y;::m", "org/x/Y.m"),
        ("Lorg/x/Y;.m", "org/x/Y.m"),
        ("Lorg/x/Y;m()V", "org/x/Y.m"),
        ("Lorg/x/Y;m(Ljava/lang/String;[I)Ljava/lang/Object;", "org/x/Y.m"),
        ("Lorg/x/Y;<init>()V", "org/x/Y.<init>"),
        ("LMain;::main", "Main.main"),
        ("Lorg/x/YKt;::unbox-impl", "org/x/YKt.unbox-impl"),
        ("Lorg/x/Y;::lambda$main$0", "org/x/Y.lambda$main$0"),
        ("Lorg/x/Y$$Lambda$484/0x00007f458054beb8;::run", "org/x/Y$$Lambda.run"),
        ("Lorg/x/Y$$Lambda.0x00007f458054beb8;::run", "org/x/Y$$Lambda.run"),
        ("Lorg/x/Y$$Lambda$485/161628854;run()V", "org/x/Y$$Lambda.run"),
        ("Ljava/lang/invoke/LambdaForm$MH/0x00007f458054beb8;::invoke", "java/lang/invoke/LambdaForm$MH.invoke"),
        ("Ljdk/proxy2/$Proxy34;::call", "jdk/proxy/$Proxy.call"),
        # stackcollapse-perf.pl's, and those of a file that jvbtune wrote without rules
        ("org/x/Y:::m_[j]", "org/x/Y.m"),
        ("org/x/Y:.m_[j]", "org/x/Y.m"),
        ("org/x/Y:m", "org/x/Y.m"),
        ("org/x/Y$$Lambda$484/0x00007f458054beb8:::run_[j]", "org/x/Y$$Lambda.run"),
        ("Lorg/x/Y:::m_[j]", "org/x/Y.m"),
        ("Lorg/x/Y:m(Ljava/lang/String:I)V_[j]", "org/x/Y.m"),
    ],
    "return-types": [("void a.b.C.d", "a/b/C.d"), ("byte[] a.b.C.d", "a/b/C.d"), ("a.b.E a.b.C.d", "a/b/C.d")],
    "package-slashes": [
        ("a.b.C.d", "a/b/C.d"),
        ("a.b.C$D.<init>", "a/b/C$D.<init>"),
        ("a.b.C.run (x.py:1)", "a.b.C.run (x.py:1)"),
        ("udp.part.0_[k]", "udp"),
    ],
    "lambda-numbers": [
        ("a/B$$Lambda$484.0x00007f458054beb8.run", "a/B$$Lambda.run"),
        ("a/B$$Lambda$484/0x00007f458054beb8.run", "a/B$$Lambda.run"),
        ("a/B$$Lambda$485+0x00007fd1e454b2b8/161628854.run_[i]", "a/B$$Lambda.run"),
        ("a.B$$Lambda$485+0x00007fd1e454b2b8/161628854.run_[i]", "a/B$$Lambda.run"),
        ("void a.B$$Lambda$485/0x00007fd1e454b2b8.run", "a/B$$Lambda.run"),
        ("a/B$$Lambda$12/161628854.run", "a/B$$Lambda.run"),
        ("a/B$$Lambda.0x00007f458054beb8.run", "a/B$$Lambda.run"),
        ("a/B$$Lambda/0x00007f458054beb8.run", "a/B$$Lambda.run"),
        ("a/B.lambda$main$0", "a/B.lambda$main$0"),
    ],
    "lambda-forms": [
        ("java/lang/invoke/LambdaForm$MH.0x00007f458054beb8.invoke", "java/lang/invoke/LambdaForm$MH.invoke"),
        ("java/lang/invoke/LambdaForm$DMH/0x00007f458054beb8.invoke", "java/lang/invoke/LambdaForm$DMH.invoke"),
        ("java/lang/invoke/LambdaForm$MH012/1231231.linkTo", "java/lang/invoke/LambdaForm$MH.linkTo"),
    ],
    "hidden-classes": [
        ("a/B.0x00007f458054beb8.run", "a/B.run"),
        ("a.b.C/0x00007f458054beb8.run", "a/b/C.run"),
        ("a/B+0x00007f458054beb8/161628854.run", "a/B.run"),
    ],
    "generated-classes": [
        ("jdk/proxy2/$Proxy34.call", "jdk/proxy/$Proxy.call"),
        (
            "jdk/internal/reflect/GeneratedMethodAccessor12.invoke",
            "jdk/internal/reflect/GeneratedMethodAccessor.invoke",
        ),
        ("a/B$$FastClassByCGLIB$$1a2b3c.invoke", "a/B$$FastClassByCGLIB$$.invoke"),
    ],
    "compiler-clones": [
        ("finish_task_switch.isra.0_[k]", "finish_task_switch"),
        ("do_softirq.part.0_[k]", "do_softirq"),
        ("foo.constprop.0.isra.0", "foo"),
        ("foo.cold", "foo"),
        ("a/B.cold", "a/B.cold"),
    ],
    "symbol-versions": [("clock_gettime@@GLIBC_2.17", "clock_gettime")],
    "addresses": [("0x7f4580001234", "[unknown]")],
}


@pytest.mark.parametrize(("rule", "raw", "name"), [(rule, *case) for rule, cases in RULED.items() for case in cases])
def test_rules(rule: str, raw: str, name: str) -> None:
    assert ALL_RULES.frame(*split_suffix(raw))[0] == name
    once = ALL_RULES.frame(*split_suffix(raw))
    assert ALL_RULES.frame(*once) == once, "a rule that is applied twice does no more"


@pytest.mark.parametrize("rule", RULED)
def test_each_rule_can_be_switched_off(rule: str) -> None:
    off = NameRules.without([rule])
    changed = [raw for raw, _ in RULED[rule] if off.frame(*split_suffix(raw)) != ALL_RULES.frame(*split_suffix(raw))]
    assert changed
    assert len(off.sentences) == len(ALL_RULES.sentences) - 1


def test_every_rule_has_a_test_and_a_sentence() -> None:
    assert {*RULED, "thread-ids"} == set(RULE_NAMES)
    assert all(sentence.endswith(".") for sentence in ALL_RULES.sentences)


def test_without_rules_a_frame_is_what_the_file_says() -> None:
    for raw, _, _ in KINDS:
        name, kind = split_suffix(raw)
        assert NameRules.none().frame(name, kind) == (name, kind)


def test_a_rule_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match="lambda-numbers"):
        NameRules.without(["lambdas"])


@pytest.mark.parametrize(
    ("label", "pool"),
    [
        ("Global IO pool-12 tid=4242", "Global IO pool-*"),
        ("pool-1-thread-7 tid=1", "pool-*-thread-*"),
        ("G1 Conc#0 tid=1", "G1 Conc#*"),
        ("C2 CompilerThread0 tid=1", "C2 CompilerThread*"),
        ("IceConnector@186a tid=1", "IceConnector@*"),
        ("ice4j.Harvester", "ice4j.Harvester"),
    ],
)
def test_pools(label: str, pool: str) -> None:
    assert pool_of(label) == pool
