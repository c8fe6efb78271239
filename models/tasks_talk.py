"""Jobs that need no tool: small talk, and one honest sentence when no given tool can do it."""
from render import Task

HELLO = "Hello. How can I help you?"
THANKS = "You are welcome."
BYE = "Goodbye."
WHO = "I am the small default model of hermesd. I use tools to answer."
HELP = "I can use the tools that a job gives me: just ask."
FINE = "I am fine, thank you. How can I help you?"
REFUSAL = "I cannot do that with the tools I have."
YES = "All right."

TALK = [
    (HELLO, ["Hello", "Hi", "Hey", "Good morning", "Good evening", "Hello there", "Hi there", "Good afternoon", "Hey there", "Greetings", "Good day", "hello", "hi", "Hello, hermes", "Hello again", "Howdy"]),
    (THANKS, ["Thanks", "Thank you", "Thank you very much", "Thanks a lot", "Many thanks", "Great, thanks", "thanks", "thank you so much", "Cheers", "That was helpful, thank you", "Perfect, thank you", "Thanks for your help"]),
    (BYE, ["Goodbye", "Bye", "See you", "Good night", "Bye bye", "See you tomorrow", "Until next time", "goodbye", "bye", "See you later", "I have to go, bye"]),
    (WHO, ["Who are you", "What are you", "What is your name", "Which model are you", "Tell me who you are", "Introduce yourself", "who are you", "Are you a human", "Are you a robot", "Who am I talking to", "What kind of model are you", "What's your name"]),
    (HELP, ["What can you do", "How can you help me", "Can you help me", "Help", "What are you good at", "I need help", "What can I ask you", "help me", "Could you help me", "How do you work"]),
    (FINE, ["How are you", "How are you doing", "How are you today", "How do you do", "Are you well", "How is it going", "how are you"]),
    (YES, ["OK", "Okay", "Fine", "Good", "Great", "Nice", "All right", "Perfect", "ok", "Very good", "Well done", "I see"]),
]
IMPOSSIBLE = ["Write a poem about {}", "Tell me a joke", "Sing a song about {}", "Cook {} for me", "What will happen tomorrow", "Drive me to {}", "Clean my {}", "Write an essay about {}", "Fly to {}",
              "What is the meaning of life", "Paint a picture of {}", "Buy me a {}", "Call my mother", "Bring me a {}", "Who will win the {}", "What do you think about {}", "Tell me a story about {}",
              "Translate {} into French", "What is the capital of {}", "How is the weather in {}", "Send an email to {}", "Book a flight to {}", "Order a pizza", "Play some music", "Turn on the light in the {}",
              "Write a program that sorts {}", "What is the best {}", "Delete my {}", "Who is {}", "Explain {} to me", "Set an alarm", "Draw a {}", "Why is the {} so {}"]


def talk(w):
    answer, forms = w.pick(TALK)
    text = w.pick(forms)
    if w.chance(0.08):
        text = w.pick(["Hello, ", "Hi, ", "Well, ", "So, "]) + text[0].lower() + text[1:] if answer not in (HELLO, BYE) else text
    question = answer in (WHO, HELP, FINE) and not text.startswith(("Tell", "Introduce", "Help", "I need"))
    return Task("none").user(text + (w.pick(["?", "?", ""]) if question else w.pick(["", "!", "."]))).answer(answer, [answer])


def impossible(w):
    form = w.pick(IMPOSSIBLE)
    text = form.replace("{}", w.word() if w.chance(0.7) else w.name(), 1).replace("{}", w.word())
    return Task("none").user(text + w.pick(["", "?", "."])).answer(REFUSAL, ["cannot"])


def refusal_of(task):
    """The same request where the tool is not given."""
    text = task.messages[0]["content"]
    t = Task("none").user(text)
    return t.answer(REFUSAL, ["cannot"])
