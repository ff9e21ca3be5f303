"""What the user wrote down: kinds of boards, boards, the project; and where it lies."""
