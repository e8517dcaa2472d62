"""How the head's error falls as it gets more pictures, and what more of them would bring."""
