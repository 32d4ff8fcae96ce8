"""Words without a measurement: times of the decisions, confidence the pieces' probability; an encoder frame is 80 ms."""

from runtime.word_models import WordModel
from runtime.words import WordMaker

PLAIN = WordMaker(WordModel(), 0.08)
