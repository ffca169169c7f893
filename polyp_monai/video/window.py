"""A window for frames, where there is a screen: of Tk, as OpenCV without a GUI has none."""

from __future__ import annotations

from types import TracebackType

import cv2
import numpy as np

from polyp_monai.errors import PolypError

LARGEST = (960, 720)  # pixels on the screen


class Window:
    """Shows frames of one size.

    Args:
        title: of the window.
        size: (W, H) of the frames; larger ones than `LARGEST` are shown smaller.

    Raises:
        PolypError: there is no screen.
    """

    def __init__(self, title: str, size: tuple[int, int]) -> None:
        try:
            import tkinter

            self._root = tkinter.Tk()
        except (ImportError, RuntimeError) as error:
            raise PolypError("no Tk to show a window with; write a file with --out, --csv or --json") from error
        except tkinter.TclError as error:
            raise PolypError("no screen to show the video on; write a file with --out, --csv or --json") from error
        shrink = min(1.0, LARGEST[0] / size[0], LARGEST[1] / size[1])
        self._size = round(size[0] * shrink), round(size[1] * shrink)
        self._open = True
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()

    def __enter__(self) -> Window:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._root.destroy()

    def write(self, image: np.ndarray, time: float) -> bool:
        """Show the (H, W, 3) RGB frame. False once the user has closed the window."""
        import tkinter

        pixels = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        header = f"P6 {self._size[0]} {self._size[1]} 255 ".encode()
        self._photo = tkinter.PhotoImage(data=header + pixels.tobytes())  # Tk keeps no reference of its own
        self._label.configure(image=self._photo)
        self._root.update()
        return self._open

    def _close(self) -> None:
        self._open = False
