"""Bits and arithmetic codes of the formats of video. A code is one number that grows to the left."""

from __future__ import annotations

from collections.abc import Sequence


class Bits:
    """A number that is written from its highest bit on."""

    def __init__(self) -> None:
        self._value = self._many = 0

    def put(self, many: int, value: int) -> None:
        self._value, self._many = self._value << many | value, self._many + many

    def put_ns(self, values: int, value: int) -> None:
        """One of so many values (AV1's ns(n)): the first ones have a bit less."""
        width = values.bit_length()
        shorter = (1 << width) - values
        if value < shorter:
            self.put(width - 1, value)
        else:
            self.put(width, value + shorter)

    def whole(self) -> bytes:
        """In whole bytes, the last one filled up with zeros."""
        padding = -self._many % 8
        return (self._value << padding).to_bytes((self._many + padding) // 8, "big")


class BoolCoder:
    """The arithmetic code of VP8 (RFC 6386, 7) and VP9: bits, each with the probability of 0 in 256ths."""

    def __init__(self) -> None:
        self._low, self._range, self._shifted = 0, 255, 0

    def put(self, bit: int, probability: int) -> None:
        split = 1 + ((self._range - 1) * probability >> 8)
        self._low += split if bit else 0
        self._range = self._range - split if bit else split
        shift = 8 - self._range.bit_length()
        self._low, self._range, self._shifted = self._low << shift, self._range << shift, self._shifted + shift

    def literal(self, many: int, value: int) -> None:
        """A number, highest bit first, each as likely 0 as 1."""
        for at in reversed(range(many)):
            self.put(value >> at & 1, 128)

    def whole(self) -> bytes:
        """Whatever follows it is never read."""
        size = (8 + self._shifted + 7) // 8
        return (self._low << (8 * size - 8 - self._shifted)).to_bytes(size, "big")


class SymbolCoder:
    """The arithmetic code of AV1 (bitstream specification, 8.2): symbols by their cumulative distribution, in 32768ths.

    The number is the inverse of the code, as the decoder reads it.
    """

    def __init__(self) -> None:
        self._low, self._range, self._shifted = 0, 1 << 15, 0

    def put(self, symbol: int, distribution: Sequence[int]) -> None:
        def bound(at: int) -> int:
            above = 32768 - distribution[at]
            return ((self._range >> 8) * (above >> 6) >> 1) + 4 * (len(distribution) - at - 1)

        upper = self._range if symbol == 0 else bound(symbol - 1)
        lower = bound(symbol)
        shift = 16 - (upper - lower).bit_length()
        self._low, self._range = (self._low + lower) << shift, (upper - lower) << shift
        self._shifted += shift

    def whole(self) -> bytes:
        """With its trailing bit, and zeros after it, as the specification has it (8.2.4)."""
        inverse = self._low + ((0x3FFF - self._low) & 0x7FFF)
        many = 15 + self._shifted
        size = (self._shifted + 8) // 8
        code = (inverse ^ ((1 << many) - 1)) << 8
        return (code >> (many + 8 - 8 * size)).to_bytes(size, "big")
