"""A study of a language model that runs in seconds, and what it names."""

from rewardsmith.testbeds.rlvr import tiny_model, tokenizer

__all__ = ["tokenizer"]

STUDY = """
dataset: {task: ./words.py:rows}
held_out: 4
learner:
  model: ./words.py:make
  tokenizer: ./words.py:tokenizer
  steps: 4
  params:
    {learning_rate: 0.01, per_device_train_batch_size: 8, num_generations: 4,
     max_completion_length: 3}
  executor: inline
seeds: 2
evaluation:
  {every: 2, problems: 4, samples: 4, final_samples: 4, initial_rows: 16, batch_size: 64,
   threshold: 0.5}
gold: {kind: function, call: ./words.py:starts}
rewards:
  right: {function: {call: ./words.py:starts}}
  long:
    weighted_sum:
      weights: {right: 1.0, length: 0.5}
      parts:
        right: {function: {call: ./words.py:starts}}
        length: {function: {call: ./words.py:length}}
"""


def rows():
    return [{"prompt": f"{i}=", "answer": str(i % 10)} for i in range(10, 30)]


def make(seed, problems):
    assert all(row["prompt"] for row in problems)
    return tiny_model(seed, hidden=16, layers=1, heads=2)


def starts(completion, answer):
    """Half of what is possible starts right, so that gold varies."""
    return completion[:1] in "0123456789" if completion else False


def length(completion):
    return len(completion)


def breaks_on_digits(completion):
    if completion[:1].isdigit():
        raise RuntimeError("no digits, please")
    return 1.0


def fails(completion):
    raise RuntimeError("the judge is gone")


def nothing(completion):
    return None


def no_rows():
    return []


def no_prompts():
    return [{"question": "1=", "answer": "1"}]


def too_few():
    return [{"prompt": f"{i}=", "answer": "1"} for i in range(5)]


def chats():
    said = [[{"role": "user", "content": f"{i}="}] for i in range(8)]
    return [{"prompt": messages, "answer": "1"} for messages in said]


def mixed():
    return rows()[:3] + chats()


def without_answers():
    return [{"prompt": row["prompt"]} for row in rows()]


def others():
    return [{"prompt": f"{i}=", "answer": "1"} for i in range(4)]


def answers_of_two_kinds():
    return [{**row, "answer": int(row["answer"]) if i < 7 else "x"} for i, row in enumerate(rows())]


def make_of_a_word(word):
    raise AssertionError(word)


def breaks(seed):
    raise RuntimeError("no memory")
