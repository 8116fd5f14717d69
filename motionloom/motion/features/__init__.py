"""Feature layouts: HumanML3D (263), KIT (251) and MotionVerse (669)."""
