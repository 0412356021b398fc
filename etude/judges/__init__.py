"""Judges that nobody here trained, and what is made of their opinions.

What is where: `tensor_bundle` reads TensorFlow's checkpoints without TensorFlow; `musicnn` hears what musicians would
call a sound; `frechet` is how far one set of sounds is from another.
"""
