"""The columns of log.csv in groups, as TensorBoard and the report of a run show them together."""

GROUPS = ("held_out", "psnr", "loss", "discriminator", "learning_rate", "gradient", "speed")


def group_of(column: str) -> str:
    """The group of a column of numbers; a term of a loss that no rule names belongs to "loss"."""
    if column.startswith("val_"):
        return "held_out"
    if column.endswith("psnr"):
        return "psnr"
    if column.startswith(("critic_", "adversarial")) or column == "gradient_penalty":
        return "discriminator"
    if column.startswith("lr_"):
        return "learning_rate"
    if column == "gradient_norm":
        return "gradient"
    return "speed" if column in ("seconds", "input_wait") else "loss"
